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
    /// 0001-01-01.
    const FIRST: Self = Self(-719_162);
    /// 9999-12-31.
    const LAST: Self = Self(2_932_896);

    /// `YYYY-MM-DD`, from year 1 on.
    pub fn parse(text: &str) -> Option<Self> {
        let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in_month = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (year >= 1 && (1..=days_in_month).contains(&day)).then(|| Self(days_from_civil(year, month, day)))
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

/// Days since 1970-01-01, by Howard Hinnant's `days_from_civil`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse, `civil_from_days` of the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
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
    fn a_date_bounds_its_whole_day() {
        let since = <Since as Field>::parse(Input::Text("2025-10-15")).map(|bound| bound.0.to_string());
        let until = <Until as Field>::parse(Input::Text("2025-10-15")).map(|bound| bound.0.to_string());
        assert_eq!(since.as_deref(), Ok("2025-10-15T00:00:00.000Z"));
        assert_eq!(until.as_deref(), Ok("2025-10-15T23:59:59.999Z"));
    }
}
