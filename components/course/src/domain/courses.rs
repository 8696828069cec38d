//! What is taught.

use super::CourseId;
use sdk::{Amount, Code, Error, Int, Item, Money, Patch, Problem, Text, Timestamp, choice, request, row};
use serde_json::json;

pub const COURSE_NOT_FOUND: Code = Code::new(404, "COURSE_NOT_FOUND");
pub const COURSE_IN_USE: Code = Code::new(409, "COURSE_IN_USE");

choice! {
    pub enum Level {
        Beginner = "beginner",
        Intermediate = "intermediate",
        Advanced = "advanced",
        AllLevels = "all_levels",
    }
}

choice! {
    /// What `include` can add to a course.
    pub enum Inclusion {
        UpcomingSchedules = "upcoming_schedules",
    }
}

row! {
    pub struct Course {
        pub id: CourseId,
        pub title: String,
        pub description: Option<String>,
        pub level: Level,
        pub instrument: Option<String>,
        pub price_per_session: Money,
        pub duration_minutes: i64,
        pub max_students: i64,
        pub is_active: bool,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    /// How many rows refer to a course.
    pub struct References {
        bookings: i64,
        enrollments: i64,
        schedules: i64,
    }
}

impl Item for Course {
    const PLURAL: &'static str = "courses";
}

pub type Title = Text<1, 255>;
pub type Description = Text<0, 5000>;
pub type Instrument = Text<0, 100>;
pub type Duration = Int<1, 1440>;
pub type MaxStudents = Int<1, 1000>;

request! {
    pub struct CourseFilter {
        pub level: Option<Level>,
        pub is_active alias active: Option<bool>,
        pub min_price: Option<Amount>,
        pub max_price: Option<Amount>,
        pub instrument: Option<Text<0, 100>>,
        pub search: Option<Text<0, 100>>,
    }
    where is_price_range(min_price, max_price)
}

request! {
    pub struct CourseInclusion {
        pub include: Option<Inclusion>,
    }
}

request! {
    pub struct NewCourse {
        pub title: Title,
        pub description: Option<Description>,
        pub level: Level,
        pub price_per_session: Money,
        pub duration_minutes: Duration,
        pub max_students: Option<MaxStudents>,
        pub instrument: Option<Instrument>,
        pub is_active: Option<bool>,
    }
}

request! {
    pub partial struct CourseChanges {
        pub title: Patch<Title>,
        pub description: Patch<Option<Description>>,
        pub level: Patch<Level>,
        pub price_per_session: Patch<Money>,
        pub duration_minutes: Patch<Duration>,
        pub max_students: Patch<MaxStudents>,
        pub instrument: Patch<Option<Instrument>>,
        pub is_active: Patch<bool>,
    }
}

fn is_price_range(min: &Option<Amount>, max: &Option<Amount>) -> Result<(), Problem> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err(Problem::custom("max_price", "must not be below min_price")),
        _ => Ok(()),
    }
}

impl CourseFilter {
    /// A pattern for `ilike`.
    pub fn search_pattern(&self) -> Option<String> {
        self.search.as_ref().map(Text::like_pattern)
    }
}

pub fn not_found() -> Error {
    Error::new(COURSE_NOT_FOUND, "Course not found")
}

pub fn in_use(references: &References) -> Error {
    Error::new(COURSE_IN_USE, "The course is in use; set is_active to false instead").with(json!(references))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::field::{Field, Input};

    #[test]
    fn a_price_range_does_not_run_backwards() {
        let amount = |text| Amount::parse(Input::Text(text)).ok();
        assert!(is_price_range(&amount("1"), &amount("1")).is_ok());
        assert!(is_price_range(&None, &amount("1")).is_ok());
        assert!(is_price_range(&amount("2"), &amount("1")).is_err());
    }
}
