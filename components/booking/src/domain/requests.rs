//! What may be sent for a booking, and the draft that comes of it.

use super::{
    CourseId, ScheduleId, UserId,
    fields::{Consent, Day, Experience, NewTimeRange, Referral, TimeRange, WaNumber},
    students::User,
};
use sdk::{
    Body, Call, Date, Email, List, Problem, Problems, Role, Text, Uuid,
    extract::{Extract, Input},
    request,
};

pub type Days = List<Day, 1, 7>;
pub type FullName = Text<2, 255>;
pub type Notes = Text<0, 1000>;
pub type Preferences = Text<0, 500>;
pub type CaptchaToken = Text<1, 4096>;

request! {
    pub struct Guardian {
        name: FullName,
        wa_number: WaNumber,
    }
}

request! {
    /// BKG-1: somebody without an account.
    pub struct Registration {
        pub full_name: FullName,
        pub wa_number: WaNumber,
        pub email: Email,
        pub course_id: CourseId,
        pub experience_level: Experience,
        pub preferred_days: Days,
        pub preferred_time_range: NewTimeRange,
        pub time_preferences: Option<Preferences>,
        pub start_date_target: Option<Date>,
        pub guardian: Option<Guardian>,
        pub instrument_owned: Option<bool>,
        pub notes: Option<Notes>,
        pub referral_source: Option<Referral>,
        pub first_choice_slot_id alias schedule_id: Option<ScheduleId>,
        pub second_choice_slot_id: Option<ScheduleId>,
        pub consent: Consent,
        pub captcha_token: CaptchaToken,
        pub idempotency_key: Uuid,
    }
}

request! {
    /// BKG-4: a user.
    pub struct NewBooking {
        pub course_id: CourseId,
        pub experience_level: Option<Experience>,
        pub preferred_days: Option<Days>,
        pub preferred_time_range: Option<NewTimeRange>,
        pub time_preferences: Option<Preferences>,
        pub start_date_target: Option<Date>,
        pub guardian: Option<Guardian>,
        pub instrument_owned: Option<bool>,
        pub notes: Option<Notes>,
        pub referral_source: Option<Referral>,
        pub first_choice_slot_id alias schedule_id: Option<ScheduleId>,
        pub second_choice_slot_id: Option<ScheduleId>,
        pub idempotency_key: Option<Uuid>,
    }
}

request! {
    struct NamedUser {
        user_id: Option<UserId>,
    }
}

/// The student for whom an admin books. From anybody else the member is not
/// even looked at.
pub struct OnBehalfOf(pub Option<UserId>);

impl Extract for OnBehalfOf {
    fn extract(call: &Call) -> Result<Self, Problems> {
        if !call.has_role(Role::Admin) {
            return Ok(Self(None));
        }
        match Body::<NamedUser>::extract(call) {
            Ok(Body(named)) => Ok(Self(named.user_id)),
            // A body that cannot be read at all has been reported once already.
            Err(problems) if problems.iter().all(|problem| problem.field().is_empty()) => Ok(Self(None)),
            Err(problems) => Err(problems),
        }
    }

    fn inputs() -> Vec<Input> {
        Body::<NamedUser>::inputs()
    }
}

request! {
    /// BKG-6.
    pub struct Confirmation {
        pub schedule_id alias confirmed_slot_id: Option<ScheduleId>,
    }
}

request! {
    /// BKG-7.
    pub struct Rejection {
        pub reason: Option<Text<0, 500>>,
    }
}

/// A booking that is about to be made.
pub struct Draft {
    pub user_id: Option<UserId>,
    pub course_id: CourseId,
    pub full_name: String,
    pub email: String,
    pub wa_number: Option<String>,
    pub experience_level: Option<Experience>,
    pub preferred_days: Vec<String>,
    pub preferred_time_range: Option<TimeRange>,
    pub time_preferences: Option<Preferences>,
    pub start_date_target: Option<Date>,
    pub guardian: Option<Guardian>,
    pub instrument_owned: Option<bool>,
    pub notes: Option<Notes>,
    pub referral_source: Option<Referral>,
    pub first_choice: Option<ScheduleId>,
    pub second_choice: Option<ScheduleId>,
    pub idempotency_key: Option<Uuid>,
    pub has_consented: bool,
}

impl Guardian {
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub fn wa_number(&self) -> String {
        self.wa_number.clone().into_string()
    }
}

impl From<Registration> for Draft {
    fn from(sent: Registration) -> Self {
        Self {
            user_id: None,
            course_id: sent.course_id,
            full_name: sent.full_name.as_str().to_owned(),
            email: sent.email.as_str().to_owned(),
            wa_number: Some(sent.wa_number.into_string()),
            experience_level: Some(sent.experience_level),
            preferred_days: Day::names(sent.preferred_days.items()),
            preferred_time_range: Some(sent.preferred_time_range.into()),
            time_preferences: sent.time_preferences,
            start_date_target: sent.start_date_target,
            guardian: sent.guardian,
            instrument_owned: sent.instrument_owned,
            notes: sent.notes,
            referral_source: sent.referral_source,
            first_choice: sent.first_choice_slot_id,
            second_choice: sent.second_choice_slot_id,
            idempotency_key: Some(sent.idempotency_key),
            has_consented: true,
        }
    }
}

impl Draft {
    pub fn of_user(user: User, sent: NewBooking) -> Self {
        Self {
            user_id: Some(user.id),
            course_id: sent.course_id,
            full_name: user.full_name,
            email: user.email,
            wa_number: user.wa_number,
            experience_level: sent.experience_level,
            preferred_days: sent.preferred_days.map(|days| Day::names(days.items())).unwrap_or_default(),
            preferred_time_range: sent.preferred_time_range.map(TimeRange::from),
            time_preferences: sent.time_preferences,
            start_date_target: sent.start_date_target,
            guardian: sent.guardian,
            instrument_owned: sent.instrument_owned,
            notes: sent.notes,
            referral_source: sent.referral_source,
            first_choice: sent.first_choice_slot_id,
            second_choice: sent.second_choice_slot_id,
            idempotency_key: sent.idempotency_key,
            has_consented: false,
        }
    }

    pub fn choices(&self) -> Vec<&ScheduleId> {
        [&self.first_choice, &self.second_choice].into_iter().flatten().collect()
    }
}

/// 400, by what the database says of a body that is good in itself.
pub fn invalid(field: &'static str, message: &'static str) -> sdk::Error {
    Problem::custom(field, message).into()
}
