//! Instants and days, in UTC and in the proleptic Gregorian calendar.
//!
//! Only what requests and rows need: reading and writing RFC 3339. There is no
//! clock here; "now" is PostgreSQL's.

use crate::{
    field::{Field, Input},
    problem::{Flaw, Problem, Problems},
    value::{Column, Param, Value as Cell},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::fmt;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Microseconds since the Unix epoch. Read from a request it is a whole number
/// of milliseconds, which is what an answer can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// A calendar day, as days since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(i64);

/// The lower bound of a range of instants, itself included: a timestamp, or a
/// date for the beginning of that UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since(pub Timestamp);

/// The upper bound, itself included: a timestamp, or a date for the end of that
/// UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Until(pub Timestamp);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Later by that many seconds.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// RFC 3339 with an offset, to the millisecond. None for anything else,
    /// leap seconds included, which PostgreSQL has none of.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, rest) = (text.get(..10)?, text.get(10..)?);
        let rest = rest.strip_prefix(['T', 't'])?;
        let (clock, rest) = (rest.get(..8)?, rest.get(8..)?);
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (millis, zone) = match rest.strip_prefix('.') {
            None => (0, rest),
            Some(rest) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, zone) = rest.split_at_checked(digits).filter(|_| digits > 0)?;
                (format!("{:0<3}", fraction).get(..3)?.parse::<i64>().ok()?, zone)
            }
        };
        let offset = match zone {
            "Z" | "z" => 0,
            _ => {
                let sign = if zone.starts_with('+') { 1 } else { -1 };
                let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                sign * (hours * 60 + minutes)
            }
        };
        let seconds = Date::parse(day)?.0 * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
        let timestamp = Self::from_millis(seconds * 1_000 + millis);
        // The offset can lead out of the years that have four digits.
        (Date::FIRST..=Date::LAST).contains(&timestamp.date()).then_some(timestamp)
    }

    fn date(self) -> Date {
        Date(self.0.div_euclid(MICROS_PER_DAY))
    }
}

impl Date {
    /// 1970-01-01 as a Julian day.
    const EPOCH: i64 = 2_440_588;
    /// 0001-01-01.
    const FIRST: Self = Self(-719_162);
    /// 9999-12-31.
    const LAST: Self = Self(2_932_896);

    /// `YYYY-MM-DD`, from year 1 on.
    pub fn parse(text: &str) -> Option<Self> {
        let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
        let month = ::time::Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date = ::time::Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
        (year >= 1).then(|| Self(i64::from(date.to_julian_day()) - Self::EPOCH))
    }

    /// The first instant of the day.
    pub fn start(self) -> Timestamp {
        Timestamp(self.0 * MICROS_PER_DAY)
    }

    /// The last instant of the day that PostgreSQL can hold.
    pub fn end(self) -> Timestamp {
        Timestamp((self.0 + 1) * MICROS_PER_DAY - 1)
    }
}

/// Decimal numbers of exactly these widths.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With the feature `large-dates` every timestamp has a day.
        let day = i32::try_from(self.0 + Self::EPOCH).ok().and_then(|day| ::time::Date::from_julian_day(day).ok());
        let (year, month, day) = day.unwrap_or(::time::Date::MAX).to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

/// `2025-10-15T08:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.rem_euclid(MICROS_PER_DAY) / 1_000;
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.date(), millis % 1_000)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::field::described::parsed(deserializer, Self::parse)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Field for Timestamp {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let timestamp = Self::parse(input.text()?);
        timestamp.ok_or_else(|| invalid("must be a timestamp of RFC 3339 with an offset"))
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

impl Field for Date {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        Self::parse(input.text()?).ok_or_else(|| invalid("must be a date, YYYY-MM-DD"))
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date" })
    }
}

impl Field for Since {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        bound(input, Date::start).map(Self)
    }

    fn schema() -> Value {
        json!({ "anyOf": [Date::schema(), Timestamp::schema()] })
    }
}

impl Field for Until {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        bound(input, Date::end).map(Self)
    }

    fn schema() -> Value {
        Since::schema()
    }
}

crate::__shown_as_read!(Timestamp, Date);

fn bound(input: Input<'_>, of_day: fn(Date) -> Timestamp) -> Result<Timestamp, Problems> {
    let text = input.text()?;
    let bound = Date::parse(text).map(of_day).or_else(|| Timestamp::parse(text));
    bound.ok_or_else(|| invalid("must be a date, or a timestamp of RFC 3339 with an offset"))
}

fn invalid(message: &'static str) -> Problems {
    Problem::new(Flaw::InvalidString, message).into()
}

impl Param for Timestamp {
    fn to_value(&self) -> Cell {
        Cell::Timestamp(self.0)
    }
}

impl Column for Timestamp {
    fn from_value(value: &Cell) -> Option<Self> {
        match value {
            Cell::Timestamp(micros) => Some(Self(*micros)),
            _ => None,
        }
    }
}

impl Param for Date {
    fn to_value(&self) -> Cell {
        Cell::Date(self.to_string())
    }
}

impl Column for Date {
    fn from_value(value: &Cell) -> Option<Self> {
        match value {
            Cell::Date(text) => Self::parse(text),
            _ => None,
        }
    }
}

impl Param for Since {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

impl Param for Until {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Timestamp::parse(text).map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn timestamps_come_out_in_utc_with_milliseconds() {
        for (text, expected) in [
            ("2025-10-15T08:00:00Z", "2025-10-15T08:00:00.000Z"),
            ("2025-10-15T15:00:00.1239+07:00", "2025-10-15T08:00:00.123Z"),
            ("2024-02-29t23:59:59.5-00:30", "2024-03-01T00:29:59.500Z"),
            ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp_with_an_offset_is_refused() {
        for text in [
            "",
            "2025-10-15",
            "2025-10-15T08:00:00",
            "2025-10-15 08:00:00Z",
            "2025-10-15T08:00Z",
            "2025-10-15T24:00:00Z",
            "2025-10-15T08:00:60Z",
            "2025-10-15T08:00:00.Z",
            "2025-02-29T08:00:00Z",
            "2025-13-01T08:00:00Z",
            "2025-10-15T08:00:00+7:00",
            "2025-10-15T08:00:00+0700",
            "9999-12-31T23:59:59-01:00",
            "0000-12-31T23:59:59Z",
            "+025-10-15T08:00:00Z",
            "2025-10-15T08:00:00é",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_the_calendar_survives_a_round_trip() {
        for days in Date::FIRST.0..=Date::LAST.0 {
            let date = Date(days);
            assert_eq!(Date::parse(&date.to_string()), Some(date));
        }
    }

    #[test]
    fn every_timestamp_that_a_row_can_hold_is_written() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "294247-01-10T04:00:54.775Z");
        assert_eq!(Timestamp::from_micros(-210_866_803_200_000_000).to_string(), "-4713-11-24T00:00:00.000Z");
    }

    #[test]
    fn a_date_bounds_its_whole_day() {
        let since = <Since as Field>::parse(Input::Text("2025-10-15")).map(|bound| bound.0.to_string());
        let until = <Until as Field>::parse(Input::Text("2025-10-15")).map(|bound| bound.0.to_string());
        assert_eq!(since.as_deref(), Ok("2025-10-15T00:00:00.000Z"));
        assert_eq!(until.as_deref(), Ok("2025-10-15T23:59:59.999Z"));
    }
}
