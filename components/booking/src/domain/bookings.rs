//! A request for lessons, from its arrival to its decision.

use super::{BookingId, CourseId, Level, ScheduleId, UserId, fields::TimeRange};
use sdk::{Code, Date, Error, Item, Money, Result, Timestamp, choice, codes, database, request, row};
use serde_json::json;

pub const DUPLICATE_REQUEST: Code = Code::new(409, "DUPLICATE_REQUEST");
pub const PENDING_BOOKING_EXISTS: Code = Code::new(409, "PENDING_BOOKING_EXISTS");
pub const PENDING_BOOKING_LIMIT: Code = Code::new(409, "PENDING_BOOKING_LIMIT");
pub const BOOKING_INVALID_STATUS: Code = Code::new(409, "BOOKING_INVALID_STATUS");
pub const BOOKING_EXPIRED: Code = Code::new(409, "BOOKING_EXPIRED");
pub const BOOKING_CREATION_FAILED: Code = Code::new(500, "BOOKING_CREATION_FAILED");

choice! {
    pub enum Status {
        Pending = "pending",
        Confirmed = "confirmed",
        Rejected = "rejected",
        Expired = "expired",
        Cancelled = "cancelled",
    }
}

row! {
    pub struct Booking {
        pub id: BookingId,
        pub registration_number: String,
        pub course_id: CourseId,
        pub user_id: Option<UserId>,
        pub status: Status,
        pub applicant_full_name: Option<String>,
        pub applicant_email: Option<String>,
        pub applicant_wa_number: Option<String>,
        pub experience_level: Option<String>,
        pub time_preferences: Option<String>,
        pub preferred_days: Vec<String>,
        pub preferred_time_range: Option<TimeRange>,
        pub start_date_target: Option<Date>,
        pub guardian_name: Option<String>,
        pub guardian_wa_number: Option<String>,
        pub instrument_owned: Option<bool>,
        pub notes: Option<String>,
        pub referral_source: Option<String>,
        pub first_choice_slot_id: Option<ScheduleId>,
        pub second_choice_slot_id: Option<ScheduleId>,
        pub confirmed_slot_id: Option<ScheduleId>,
        pub rejection_reason: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub expires_at: Timestamp,
        pub confirmed_at: Option<Timestamp>,
        pub rejected_at: Option<Timestamp>,
    }

    /// A booking with its course, for lists.
    pub struct ListedBooking {
        #[serde(flatten)]
        booking: Booking as "",
        course: CourseRef as "course_",
    }

    pub struct CourseRef {
        id: CourseId,
        title: String,
        level: Level,
        instrument: Option<String>,
        price_per_session: Money,
    }

    /// A booking's row, locked, and whether its time was over then.
    pub struct LockedBooking {
        pub booking: Booking as "",
        pub is_overdue: bool,
    }

    /// A booking that has just become an expired one.
    pub struct Expired {
        pub id: BookingId,
        pub course_id: CourseId,
    }

    /// The pending bookings of a person.
    pub struct Pending {
        pub total: i64,
        pub in_course: i64,
    }

    /// The booking that was made with an idempotency key.
    pub struct ExistingBooking {
        pub id: BookingId,
        pub user_id: Option<UserId>,
        pub is_public: bool,
    }
}

impl Item for ListedBooking {
    const PLURAL: &'static str = "bookings";
}

request! {
    /// BKG-2.
    pub struct PendingFilter {
        pub course_id: Option<CourseId>,
    }
}

request! {
    /// BKG-5.
    pub struct StatusFilter {
        pub status: Option<Status>,
    }
}

impl Booking {
    pub fn choices(&self) -> Vec<&ScheduleId> {
        [&self.first_choice_slot_id, &self.second_choice_slot_id].into_iter().flatten().collect()
    }
}

impl LockedBooking {
    /// A decided booking stays as it is, and so does one whose status says that
    /// it has expired.
    pub fn check_open(&self) -> Result<()> {
        match self.booking.status {
            Status::Pending => Ok(()),
            status => Err(invalid_status(status)),
        }
    }
}

impl Pending {
    /// One booking of a person may wait per course, and only so many in all.
    pub fn check_another(&self, max: i64) -> Result<()> {
        match self {
            Self { in_course: 1.., .. } => Err(pending_exists()),
            Self { total, .. } if *total >= max => Err(too_many_pending()),
            _ => Ok(()),
        }
    }
}

impl ExistingBooking {
    /// The answer to a second request with the key. It names the booking only
    /// to whom it belongs, for others can have sent the same key.
    pub fn duplicate(&self, for_user: Option<&UserId>) -> Error {
        let is_own = match for_user {
            None => self.is_public,
            Some(user) => self.user_id.as_ref() == Some(user),
        };
        duplicate().with(json!({ "booking_id": is_own.then_some(&self.id) }))
    }
}

pub fn duplicate() -> Error {
    Error::new(DUPLICATE_REQUEST, "This request has been sent before")
}

pub fn pending_exists() -> Error {
    Error::new(PENDING_BOOKING_EXISTS, "A booking for this course is pending already")
}

pub fn too_many_pending() -> Error {
    Error::new(PENDING_BOOKING_LIMIT, "Too many bookings are pending already")
}

pub fn not_found() -> Error {
    Error::not_found("Booking")
}

pub fn invalid_status(status: Status) -> Error {
    let message = format!("The booking is {}", status.word());
    Error::new(BOOKING_INVALID_STATUS, message).with(json!({ "status": status }))
}

pub fn expired() -> Error {
    Error::new(BOOKING_EXPIRED, "The booking has expired")
}

/// The refusal of an insert; what has a code of its own already keeps it.
pub fn not_created(error: database::Error) -> Error {
    let error = Error::from(error);
    if error.code() == codes::DB_QUERY_ERROR {
        return error.with_code(BOOKING_CREATION_FAILED, "The booking could not be made");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::Uuid;

    fn user(digit: char) -> UserId {
        let text: String = "00000000-0000-4000-8000-00000000000".chars().chain([digit]).collect();
        UserId(Uuid::parse(&text).unwrap())
    }

    fn code(result: Result<()>) -> Option<&'static str> {
        result.err().map(|error| error.code().name)
    }

    #[test]
    fn one_booking_may_wait_per_course_and_three_in_all() {
        let another = |total, in_course| code(Pending { total, in_course }.check_another(3));
        assert_eq!([another(0, 0), another(2, 0)], [None, None]);
        assert_eq!(another(3, 0), Some("PENDING_BOOKING_LIMIT"));
        assert_eq!(another(1, 1), Some("PENDING_BOOKING_EXISTS"));
        assert_eq!(another(3, 1), Some("PENDING_BOOKING_EXISTS"));
    }

    #[test]
    fn a_key_names_only_ones_own_booking() {
        let named = |user_id, is_public, for_user: Option<UserId>| {
            let made = ExistingBooking { id: BookingId(user('b').0), user_id, is_public };
            let details = made.duplicate(for_user.as_ref()).details().cloned().unwrap_or_default();
            !details["booking_id"].is_null()
        };
        assert!(named(None, true, None));
        // Confirmed since.
        assert!(named(Some(user('1')), true, None));
        assert!(!named(Some(user('1')), false, None));
        assert!(named(Some(user('1')), false, Some(user('1'))));
        assert!(!named(Some(user('1')), false, Some(user('2'))));
        assert!(!named(None, true, Some(user('2'))));
    }
}
