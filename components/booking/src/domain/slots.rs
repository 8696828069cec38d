//! Which classes a booking may name, and in which it may be given a seat.

use super::{CourseId, ScheduleId};
use sdk::{Code, Error, Problem, Problems, Result, row};
use serde_json::json;

pub const BOOKING_INVALID_SLOTS: Code = Code::new(400, "BOOKING_INVALID_SLOTS");
pub const SCHEDULE_NOT_FOUND: Code = Code::new(404, "SCHEDULE_NOT_FOUND");
pub const SCHEDULE_FULL: Code = Code::new(409, "SCHEDULE_FULL");

row! {
    /// A class, and how it stands now.
    pub struct Slot {
        pub id: ScheduleId,
        pub course_id: CourseId,
        pub is_upcoming: bool,
        pub has_seat: bool,
    }
}

impl Slot {
    fn check_choice(&self, course: &CourseId) -> Result<(), &'static str> {
        match () {
            () if self.course_id != *course => Err("is a class of another course"),
            () if !self.is_upcoming => Err("has started already"),
            () if !self.has_seat => Err("has no seat left"),
            () => Ok(()),
        }
    }

    /// Whether a booking with these choices can be given a seat here, as long
    /// as there is one.
    pub fn check_seat(&self, course: &CourseId, choices: &[&ScheduleId]) -> Result<()> {
        let fits = match () {
            () if self.course_id != *course => Err("is a class of another course"),
            () if !self.is_upcoming => Err("has started already"),
            () if !choices.is_empty() && !choices.contains(&&self.id) => Err("is none of the booking's choices"),
            () => Ok(()),
        };
        fits.map_err(|message| invalid(&Problem::custom("schedule_id", message).into()))
    }
}

/// Judges both choices of a booking. `slots`: those of them that exist.
pub fn check_choices(
    first: Option<&ScheduleId>,
    second: Option<&ScheduleId>,
    course: &CourseId,
    slots: &[Slot],
) -> Result<()> {
    let mut problems = Problems::default();
    if second.is_some() && first.is_none() {
        problems.push(Problem::custom("first_choice_slot_id", "is needed for a second choice"));
    }
    if second.is_some() && first == second {
        problems.push(Problem::custom("second_choice_slot_id", "must differ from the first choice"));
    }
    for (field, choice) in [("first_choice_slot_id", first), ("second_choice_slot_id", second)] {
        let Some(choice) = choice else { continue };
        let slot = slots.iter().find(|slot| slot.id == *choice);
        if let Err(message) = slot.map_or(Err("is no class"), |slot| slot.check_choice(course)) {
            problems.push(Problem::custom(field, message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(invalid(&problems)) }
}

fn invalid(problems: &Problems) -> Error {
    Error::new(BOOKING_INVALID_SLOTS, "This class cannot be chosen").with(json!(problems))
}

/// A class that was there when it was checked, and is no more.
pub fn is_gone(choice: &str) -> Error {
    invalid(&Problem::custom(choice, "is no class any more").into())
}

pub fn not_found() -> Error {
    Error::new(SCHEDULE_NOT_FOUND, "Schedule not found")
}

pub fn full() -> Error {
    Error::new(SCHEDULE_FULL, "There is no seat left")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    fn uuid(digit: char) -> Uuid {
        let text: String = "00000000-0000-4000-8000-00000000000".chars().chain([digit]).collect();
        Uuid::parse(&text).unwrap()
    }

    fn course() -> CourseId {
        CourseId(uuid('c'))
    }

    fn slot(digit: char) -> Slot {
        Slot { id: ScheduleId(uuid(digit)), course_id: course(), is_upcoming: true, has_seat: true }
    }

    /// The fields of the problems of choosing among classes 1, 2 and 3.
    fn choose(first: Option<char>, second: Option<char>, slots: &[Slot]) -> Vec<String> {
        let id = |digit: Option<char>| digit.map(|digit| ScheduleId(uuid(digit)));
        let error = check_choices(id(first).as_ref(), id(second).as_ref(), &course(), slots).err();
        let details = error.and_then(|error| error.details().cloned()).unwrap_or_default();
        details.as_array().into_iter().flatten().map(|detail| detail["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn choices_are_two_different_classes_of_the_course_to_come() {
        let slots = [slot('1'), slot('2')];
        assert!(choose(None, None, &slots).is_empty());
        assert!(choose(Some('1'), None, &slots).is_empty());
        assert!(choose(Some('1'), Some('2'), &slots).is_empty());
        assert_eq!(choose(None, Some('2'), &slots), ["first_choice_slot_id"]);
        assert_eq!(choose(Some('1'), Some('1'), &slots), ["second_choice_slot_id"]);
        assert_eq!(choose(Some('3'), Some('2'), &slots), ["first_choice_slot_id"]);
        assert_eq!(choose(Some('3'), Some('4'), &slots), ["first_choice_slot_id", "second_choice_slot_id"]);
        for wrong in [
            Slot { course_id: CourseId(uuid('d')), ..slot('2') },
            Slot { is_upcoming: false, ..slot('2') },
            Slot { has_seat: false, ..slot('2') },
        ] {
            assert_eq!(choose(Some('1'), Some('2'), &[slot('1'), wrong]), ["second_choice_slot_id"]);
        }
    }

    #[test]
    fn a_seat_is_given_in_a_choice_where_there_are_choices() {
        let (first, other) = (ScheduleId(uuid('1')), ScheduleId(uuid('2')));
        assert!(slot('1').check_seat(&course(), &[]).is_ok());
        assert!(slot('1').check_seat(&course(), &[&other, &first]).is_ok());
        // Whether it is full is the trigger's to say.
        assert!(Slot { has_seat: false, ..slot('1') }.check_seat(&course(), &[]).is_ok());
        assert!(slot('1').check_seat(&course(), &[&other]).is_err());
        assert!(slot('1').check_seat(&CourseId(uuid('d')), &[]).is_err());
        assert!(Slot { is_upcoming: false, ..slot('1') }.check_seat(&course(), &[]).is_err());
    }
}
