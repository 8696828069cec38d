//! When it is taught, where and by whom.

use super::{
    CourseId, RoomId, ScheduleId, UserId,
    courses::{self, Level},
    is_period, rooms,
};
use sdk::{
    Code, Error, Flaw, Int, Item, Patch, Problem, Problems, Result, Role, Since, Timestamp, Until, codes, request, row,
};
use serde_json::json;

pub const COURSE_INACTIVE: Code = Code::new(400, "COURSE_INACTIVE");
pub const SCHEDULE_INVALID_TIME: Code = Code::new(400, "SCHEDULE_INVALID_TIME");
pub const SCHEDULE_PAST_TIME: Code = Code::new(400, "SCHEDULE_PAST_TIME");
pub const SCHEDULE_NOT_FOUND: Code = Code::new(404, "SCHEDULE_NOT_FOUND");
pub const SCHEDULE_CONFLICT: Code = Code::new(409, "SCHEDULE_CONFLICT");
pub const SCHEDULE_FULL: Code = Code::new(409, "SCHEDULE_FULL");
pub const SCHEDULE_CANNOT_DELETE: Code = Code::new(409, "SCHEDULE_CANNOT_DELETE");

row! {
    pub struct Schedule {
        pub id: ScheduleId,
        pub course_id: CourseId,
        pub instructor_id: UserId,
        pub room_id: RoomId,
        pub course: CourseRef as "course_",
        pub instructor: InstructorRef as "instructor_",
        pub room: RoomRef as "room_",
        pub start_time: Timestamp,
        pub end_time: Timestamp,
        pub max_attendees: i64,
        pub current_attendees: i64,
        pub available_slots: i64,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    pub struct CourseRef {
        id: CourseId,
        title: String,
        level: Level,
        instrument: Option<String>,
    }

    pub struct InstructorRef {
        id: UserId,
        full_name: String,
    }

    pub struct RoomRef {
        id: RoomId,
        name: String,
        capacity: Option<i64>,
    }

    /// Who occupies what, and when.
    #[derive(PartialEq)]
    pub struct Plan {
        pub course_id: CourseId,
        pub instructor_id: UserId,
        pub room_id: RoomId,
        pub start_time: Timestamp,
        pub end_time: Timestamp,
    }

    /// A schedule's row, locked, and the time since when it is.
    pub struct LockedSchedule {
        pub plan: Plan as "",
        pub max_attendees: i64,
        pub current_attendees: i64,
        pub now: Timestamp,
    }

    /// What a plan refers to, as far as it exists, and the time.
    pub struct Placement {
        pub course_is_active: Option<bool>,
        pub course_max_students: Option<i64>,
        pub instructor_role: Option<Role>,
        pub room_exists: bool,
        pub room_capacity: Option<i64>,
        pub now: Timestamp,
    }

    /// A class that is in the way.
    pub struct Conflict {
        #[serde(rename = "type")]
        kind: String,
        schedule_id: ScheduleId,
        start_time: Timestamp,
        end_time: Timestamp,
    }
}

impl Item for Schedule {
    const PLURAL: &'static str = "schedules";
}

pub type Seats = Int<1, { i32::MAX as i64 }>;

request! {
    pub struct AvailableFilter {
        pub course_id: Option<CourseId>,
        pub instructor_id: Option<UserId>,
        pub level: Option<Level>,
        pub start_date: Option<Since>,
        pub end_date: Option<Until>,
    }
    where is_period(start_date, end_date)
}

request! {
    pub struct ScheduleFilter {
        pub course_id: Option<CourseId>,
        pub instructor_id: Option<UserId>,
        pub room_id: Option<RoomId>,
        pub start_date: Option<Since>,
        pub end_date: Option<Until>,
    }
    where is_period(start_date, end_date)
}

request! {
    pub struct NewSchedule {
        pub course_id: CourseId,
        pub instructor_id: UserId,
        pub room_id: RoomId,
        pub start_time: Timestamp,
        pub end_time: Timestamp,
        pub max_attendees: Option<Seats>,
    }
}

request! {
    pub partial struct ScheduleChanges {
        pub course_id: Patch<CourseId>,
        pub instructor_id: Patch<UserId>,
        pub room_id: Patch<RoomId>,
        pub start_time: Patch<Timestamp>,
        pub end_time: Patch<Timestamp>,
        pub max_attendees: Patch<Seats>,
    }
}

/// How long a class may last, in minutes, both included.
#[derive(Clone, Copy)]
pub struct Lengths {
    pub min: i64,
    pub max: i64,
}

impl Plan {
    /// The plan after the changes.
    pub fn with(&self, changes: &ScheduleChanges) -> Self {
        fn or<T: Clone>(change: &Patch<T>, present: &T) -> T {
            change.as_option().unwrap_or(present).clone()
        }
        Self {
            course_id: or(&changes.course_id, &self.course_id),
            instructor_id: or(&changes.instructor_id, &self.instructor_id),
            room_id: or(&changes.room_id, &self.room_id),
            start_time: or(&changes.start_time, &self.start_time),
            end_time: or(&changes.end_time, &self.end_time),
        }
    }

    fn has_times_of(&self, other: &Self) -> bool {
        (self.start_time, self.end_time) == (other.start_time, other.end_time)
    }

    /// Begins before it ends, and is neither too short nor too long.
    pub fn check_times(&self, lengths: Lengths) -> Result<()> {
        if self.start_time >= self.end_time {
            return Err(Error::new(SCHEDULE_INVALID_TIME, "start_time must be before end_time"));
        }
        let micros = self.end_time.micros() - self.start_time.micros();
        if micros < lengths.min * 60_000_000 || micros > lengths.max * 60_000_000 {
            let message = format!("A class lasts {} to {} minutes", lengths.min, lengths.max);
            return Err(Error::new(SCHEDULE_INVALID_TIME, message));
        }
        Ok(())
    }

    pub fn check_future(&self, now: Timestamp) -> Result<()> {
        if self.start_time > now { Ok(()) } else { Err(past("start_time must be in the future")) }
    }
}

impl LockedSchedule {
    /// A class that has started does not move, and new times have to be valid.
    pub fn check_move(&self, plan: &Plan, lengths: Lengths) -> Result<()> {
        if *plan != self.plan && self.plan.start_time <= self.now {
            return Err(past("Of a class that has started only max_attendees can change"));
        }
        if !plan.has_times_of(&self.plan) {
            plan.check_times(lengths)?;
        }
        if plan.start_time == self.plan.start_time { Ok(()) } else { plan.check_future(self.now) }
    }

    /// What a changed plan refers to; what stays is not judged again.
    pub fn check_placement(&self, plan: &Plan, placement: &Placement) -> Result<()> {
        if plan.course_id != self.plan.course_id {
            placement.check_course()?;
        }
        if plan.instructor_id != self.plan.instructor_id || !plan.has_times_of(&self.plan) {
            placement.check_instructor()?;
        }
        placement.check_room()
    }

    /// The seats after the changes.
    pub fn seats(&self, plan: &Plan, placement: &Placement, wanted: Option<i64>) -> Result<i64> {
        let seats = wanted.unwrap_or(self.max_attendees);
        if wanted.is_some() || plan.room_id != self.plan.room_id {
            placement.check_seats(seats)?;
        }
        if seats < self.current_attendees {
            let message = format!("{} seats are taken already", self.current_attendees);
            return Err(Error::new(SCHEDULE_FULL, message));
        }
        if plan.course_id != self.plan.course_id && self.current_attendees > 0 {
            return Err(has_attendees());
        }
        Ok(seats)
    }
}

impl Placement {
    pub fn check_course(&self) -> Result<()> {
        match self.course_is_active {
            Some(true) => Ok(()),
            Some(false) => Err(Error::new(COURSE_INACTIVE, "The course is not active")),
            None => Err(courses::not_found()),
        }
    }

    pub fn check_instructor(&self) -> Result<()> {
        match self.instructor_role {
            Some(Role::Instructor) => Ok(()),
            Some(_) => Err(not_an_instructor()),
            None => Err(Error::not_found("Instructor")),
        }
    }

    pub fn check_room(&self) -> Result<()> {
        if self.room_exists { Ok(()) } else { Err(rooms::not_found()) }
    }

    /// The seats of a new class: those wanted, else as many as course and room
    /// have.
    pub fn seats(&self, wanted: Option<i64>) -> Result<i64> {
        let most = [self.course_max_students, self.room_capacity].into_iter().flatten().min();
        let seats = wanted.or(most).unwrap_or(1);
        self.check_seats(seats).map(|()| seats)
    }

    fn check_seats(&self, seats: i64) -> Result<()> {
        match self.room_capacity {
            Some(capacity) if seats > capacity => {
                let problem = Problem::new(Flaw::TooBig, format!("must be at most {capacity}, the room's capacity"));
                Err(Problems::from(problem).inside("max_attendees").into())
            }
            _ => Ok(()),
        }
    }
}

pub fn check_free(conflicts: &[Conflict]) -> Result<()> {
    if conflicts.is_empty() { Ok(()) } else { Err(conflict(conflicts)) }
}

pub fn conflict(conflicts: &[Conflict]) -> Error {
    let error = Error::new(SCHEDULE_CONFLICT, "The room or the instructor is busy at that time");
    error.with(json!({ "conflicts": conflicts }))
}

pub fn not_found() -> Error {
    Error::new(SCHEDULE_NOT_FOUND, "Schedule not found")
}

pub fn full() -> Error {
    Error::new(SCHEDULE_FULL, "There is no seat left")
}

pub fn has_attendees() -> Error {
    Error::new(SCHEDULE_CANNOT_DELETE, "The schedule has attendees")
}

pub fn not_an_instructor() -> Error {
    Error::new(codes::INVALID_USER_ROLE, "The user is not an instructor")
}

fn past(message: &'static str) -> Error {
    Error::new(SCHEDULE_PAST_TIME, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    const LENGTHS: Lengths = Lengths { min: 30, max: 180 };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_seconds(minute * 60)
    }

    fn uuid(digit: char) -> Uuid {
        let text: String = "00000000-0000-4000-8000-00000000000".chars().chain([digit]).collect();
        Uuid::parse(&text).unwrap()
    }

    fn plan(start: i64, end: i64) -> Plan {
        Plan {
            course_id: CourseId(uuid('1')),
            instructor_id: UserId(uuid('2')),
            room_id: RoomId(uuid('3')),
            start_time: at(start),
            end_time: at(end),
        }
    }

    fn schedule(now: i64) -> LockedSchedule {
        LockedSchedule { plan: plan(100, 160), max_attendees: 5, current_attendees: 2, now: at(now) }
    }

    fn placement() -> Placement {
        Placement {
            course_is_active: Some(true),
            course_max_students: Some(8),
            instructor_role: Some(Role::Instructor),
            room_exists: true,
            room_capacity: Some(6),
            now: at(0),
        }
    }

    fn code<T>(result: Result<T>) -> Option<&'static str> {
        result.err().map(|error| error.code().name)
    }

    #[test]
    fn a_class_lasts_as_long_as_the_settings_say() {
        for (end, expected) in [
            (100, Some("SCHEDULE_INVALID_TIME")),
            (99, Some("SCHEDULE_INVALID_TIME")),
            (129, Some("SCHEDULE_INVALID_TIME")),
            (130, None),
            (280, None),
            (281, Some("SCHEDULE_INVALID_TIME")),
        ] {
            assert_eq!(code(plan(100, end).check_times(LENGTHS)), expected, "{end}");
        }
    }

    #[test]
    fn a_new_class_gets_the_seats_of_course_and_room() {
        assert_eq!(placement().seats(None).ok(), Some(6));
        assert_eq!(Placement { room_capacity: None, ..placement() }.seats(None).ok(), Some(8));
        assert_eq!(Placement { course_max_students: Some(1), ..placement() }.seats(None).ok(), Some(1));
        assert_eq!(placement().seats(Some(6)).ok(), Some(6));
        assert_eq!(code(placement().seats(Some(7))), Some("VALIDATION_ERROR"));
        assert_eq!(Placement { room_capacity: None, ..placement() }.seats(Some(99)).ok(), Some(99));
    }

    #[test]
    fn what_a_plan_refers_to_must_be_there_and_fit() {
        let course = |course_is_active| code(Placement { course_is_active, ..placement() }.check_course());
        assert_eq!(
            [course(Some(true)), course(Some(false)), course(None)],
            [None, Some("COURSE_INACTIVE"), Some("COURSE_NOT_FOUND")]
        );
        let instructor = |instructor_role| code(Placement { instructor_role, ..placement() }.check_instructor());
        assert_eq!(instructor(Some(Role::Student)), Some("INVALID_USER_ROLE"));
        assert_eq!(instructor(None), Some("NOT_FOUND"));
    }

    #[test]
    fn of_a_started_class_only_the_seats_change() {
        assert_eq!(code(schedule(100).check_move(&plan(100, 160), LENGTHS)), None);
        assert_eq!(code(schedule(100).check_move(&plan(100, 170), LENGTHS)), Some("SCHEDULE_PAST_TIME"));
        assert_eq!(code(schedule(100).check_move(&plan(500, 160), LENGTHS)), Some("SCHEDULE_PAST_TIME"));
        assert_eq!(code(schedule(99).check_move(&plan(100, 170), LENGTHS)), None);
    }

    #[test]
    fn a_class_moves_into_the_future_only() {
        assert_eq!(code(schedule(50).check_move(&plan(50, 100), LENGTHS)), Some("SCHEDULE_PAST_TIME"));
        assert_eq!(code(schedule(50).check_move(&plan(51, 100), LENGTHS)), None);
        assert_eq!(code(schedule(50).check_move(&plan(200, 201), LENGTHS)), Some("SCHEDULE_INVALID_TIME"));
    }

    #[test]
    fn seats_do_not_drop_below_those_taken() {
        let seats = |wanted| schedule(0).seats(&plan(100, 160), &placement(), wanted);
        assert_eq!(seats(None).ok(), Some(5));
        assert_eq!(seats(Some(2)).ok(), Some(2));
        assert_eq!(code(seats(Some(1))), Some("SCHEDULE_FULL"));
        assert_eq!(code(seats(Some(7))), Some("VALIDATION_ERROR"));
    }

    #[test]
    fn the_course_stays_once_somebody_sits_in_the_class() {
        let other = Plan { course_id: CourseId(uuid('9')), ..plan(100, 160) };
        assert_eq!(code(schedule(0).seats(&other, &placement(), None)), Some("SCHEDULE_CANNOT_DELETE"));
        let empty = LockedSchedule { current_attendees: 0, ..schedule(0) };
        assert_eq!(empty.seats(&other, &placement(), None).ok(), Some(5));
    }

    #[test]
    fn an_inactive_course_is_refused_only_when_it_is_new() {
        let inactive = Placement { course_is_active: Some(false), ..placement() };
        assert_eq!(code(schedule(0).check_placement(&plan(100, 160), &inactive)), None);
        let other = Plan { course_id: CourseId(uuid('9')), ..plan(100, 160) };
        assert_eq!(code(schedule(0).check_placement(&other, &inactive)), Some("COURSE_INACTIVE"));
    }
}
