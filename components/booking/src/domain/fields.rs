//! Values that only bookings have.

use schemars::JsonSchema;
use sdk::{
    Flaw, Problem, Problems, choice,
    database::{Column, Param, Value as Cell},
    field::{Field, Input},
    request,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

choice! {
    /// Of an applicant.
    pub enum Experience {
        Beginner = "beginner",
        Intermediate = "intermediate",
        Advanced = "advanced",
    }
}

choice! {
    /// Where the applicant has heard of the academy.
    pub enum Referral {
        Instagram = "instagram",
        Facebook = "facebook",
        Google = "google",
        Tiktok = "tiktok",
        Friend = "friend",
        Website = "website",
        Other = "other",
    }
}

choice! {
    enum Weekday {
        Monday = "monday",
        Tuesday = "tuesday",
        Wednesday = "wednesday",
        Thursday = "thursday",
        Friday = "friday",
        Saturday = "saturday",
        Sunday = "sunday",
    }
}

/// The name of a weekday in any case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day(Weekday);

impl Day {
    /// In lower case, each once, in the order given.
    pub fn names(days: &[Self]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for Self(day) in days {
            if !names.iter().any(|name| name == day.word()) {
                names.push(day.word().to_owned());
            }
        }
        names
    }
}

impl Field for Day {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let name = input.text()?.to_ascii_lowercase();
        <Weekday as Field>::parse(Input::Text(&name)).map(Self)
    }

    fn schema() -> Value {
        Weekday::schema()
    }
}

/// An Indonesian number as WhatsApp wants it: `+62` and 9 to 12 digits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct WaNumber(String);

impl WaNumber {
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Field for WaNumber {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let text = input.text()?.trim();
        let digits = text.strip_prefix("+62").unwrap_or_default();
        if (9..=12).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(Flaw::InvalidString, "must be +62 and 9 to 12 digits").into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^\+62[0-9]{9,12}$" })
    }
}

/// `HH:MM`; the hour may be sent with one digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(String);

impl Field for TimeOfDay {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let number = |text: &str, widths: std::ops::RangeInclusive<usize>, max: u8| {
            let good = widths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u8>().ok().filter(|number| good && *number <= max)
        };
        let parsed = input.text()?.trim().split_once(':').and_then(|(hour, minute)| {
            Some(Self(format!("{:02}:{:02}", number(hour, 1..=2, 23)?, number(minute, 2..=2, 59)?)))
        });
        parsed.ok_or_else(|| Problem::new(Flaw::InvalidString, "must be a time of day, HH:MM").into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$" })
    }
}

request! {
    pub struct NewTimeRange {
        start: TimeOfDay,
        end: TimeOfDay,
    }
    where is_forward(start, end)
}

fn is_forward(start: &TimeOfDay, end: &TimeOfDay) -> Result<(), Problem> {
    if start < end { Ok(()) } else { Err(Problem::custom("end", "must be after start")) }
}

/// A part of a day, as it is stored and answered.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct TimeRange {
    start: String,
    end: String,
}

impl From<NewTimeRange> for TimeRange {
    fn from(range: NewTimeRange) -> Self {
        Self { start: range.start.0, end: range.end.0 }
    }
}

impl Param for TimeRange {
    fn to_value(&self) -> Cell {
        Cell::Json(json!(self).to_string())
    }
}

impl Column for TimeRange {
    fn from_value(value: &Cell) -> Option<Self> {
        match value {
            Cell::Json(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

/// Nothing is stored of somebody who does not agree to it.
pub struct Consent;

impl Field for Consent {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        if <bool as Field>::parse(input)? {
            return Ok(Self);
        }
        Err(Problem::new(Flaw::Custom, "must be true").into())
    }

    fn schema() -> Value {
        json!({ "type": "boolean", "const": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::List;

    fn sent<T: Field>(value: Value) -> Result<T, Vec<(String, Flaw)>> {
        T::parse(Input::Json(&value)).map_err(|problems| problems.iter().map(|p| (p.field(), p.flaw())).collect())
    }

    fn flaw(field: &str, flaw: Flaw) -> Vec<(String, Flaw)> {
        vec![(field.to_owned(), flaw)]
    }

    #[test]
    fn days_are_lower_case_and_named_once() {
        let days = sent::<List<Day, 1, 7>>(json!(["Saturday", "MONDAY", "saturday"]));
        assert_eq!(days.map(|days| Day::names(days.items())), Ok(vec!["saturday".into(), "monday".into()]));
        assert_eq!(sent::<List<Day, 1, 7>>(json!(["monday", "mon"])), Err(flaw("1", Flaw::InvalidEnumValue)));
    }

    #[test]
    fn whatsapp_numbers_are_indonesian() {
        for good in ["+62811222333", "+62811222333444", " +628111222333 "] {
            assert!(sent::<WaNumber>(json!(good)).is_ok(), "{good}");
        }
        for bad in ["+6281122233", "+628112223334445", "62811222333", "+61811222333", "+62 811222333", "+62٣11222333"]
        {
            assert_eq!(sent::<WaNumber>(json!(bad)), Err(flaw("", Flaw::InvalidString)), "{bad}");
        }
    }

    #[test]
    fn times_of_day_come_out_with_two_digits() {
        for (text, expected) in [("9:00", "09:00"), ("09:05", "09:05"), ("0:00", "00:00"), ("23:59", "23:59")] {
            assert_eq!(sent::<TimeOfDay>(json!(text)), Ok(TimeOfDay(expected.into())), "{text}");
        }
        for text in ["24:00", "9:60", "9:5", "09:005", "009:00", "9", "", "+9:00", "9:00:00", "nine:00"] {
            assert_eq!(sent::<TimeOfDay>(json!(text)), Err(flaw("", Flaw::InvalidString)), "{text}");
        }
    }

    #[test]
    fn a_range_ends_after_it_begins() {
        let range = sent::<NewTimeRange>(json!({ "start": "9:30", "end": "10:00" })).map(TimeRange::from);
        assert_eq!(range, Ok(TimeRange { start: "09:30".into(), end: "10:00".into() }));
        for start in ["10:00", "10:01"] {
            let range = sent::<NewTimeRange>(json!({ "start": start, "end": "10:00" })).map(TimeRange::from);
            assert_eq!(range, Err(flaw("end", Flaw::Custom)), "{start}");
        }
    }

    #[test]
    fn a_range_survives_its_column() {
        let range = TimeRange { start: "09:30".into(), end: "10:00".into() };
        assert_eq!(TimeRange::from_value(&range.to_value()), Some(range));
    }

    #[test]
    fn consent_is_true_or_nothing() {
        assert!(sent::<Consent>(json!(true)).is_ok());
        assert_eq!(sent::<Consent>(json!(false)).err(), Some(flaw("", Flaw::Custom)));
        assert_eq!(sent::<Consent>(json!("true")).err(), Some(flaw("", Flaw::InvalidType)));
    }
}
