//! The WIT `value` in and out of PostgreSQL's binary format.
//!
//! PostgreSQL says which type each parameter and column has; the value has to
//! fit that, and nothing is converted silently.

use super::numeric;
use crate::capability::bindings::database::{Error, Value};
use chrono::{NaiveDate, NaiveTime, Timelike};
use sqlx::{
    Arguments, Encode, Postgres, Type, TypeInfo, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, PgTypeKind, PgValueRef},
};
use uuid::Uuid;

/// Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const TEXT_OID: u32 = 25;
const UUID_OID: u32 = 2950;

/// Types by what they hold; PostgreSQL's fixed oids (pg_type.dat).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Boolean,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytes,
    Uuid,
    Date,
    Time,
    Timestamp,
    Json,
    Jsonb,
    TextArray,
    UuidArray,
    Void,
}

fn kind_of(info: &PgTypeInfo) -> Option<Kind> {
    let by_oid = match info.oid().map(|oid| oid.0) {
        Some(16) => Kind::Boolean,
        Some(21) => Kind::Int2,
        Some(23) => Kind::Int4,
        Some(20) => Kind::Int8,
        Some(700) => Kind::Float4,
        Some(701) => Kind::Float8,
        Some(1700) => Kind::Numeric,
        // text, varchar, char(n), name, unknown
        Some(TEXT_OID | 1043 | 1042 | 19 | 705) => Kind::Text,
        Some(17) => Kind::Bytes,
        Some(UUID_OID) => Kind::Uuid,
        Some(1082) => Kind::Date,
        Some(1083) => Kind::Time,
        Some(1184) => Kind::Timestamp,
        Some(114) => Kind::Json,
        Some(3802) => Kind::Jsonb,
        // text[], varchar[], name[]
        Some(1009 | 1015 | 1003) => Kind::TextArray,
        Some(2951) => Kind::UuidArray,
        Some(2278) => Kind::Void,
        _ => {
            let as_text = matches!(info.kind(), PgTypeKind::Enum(_)) || info.name().eq_ignore_ascii_case("citext");
            return as_text.then_some(Kind::Text);
        }
    };
    Some(by_oid)
}

/// A parameter in binary form, under the type that PostgreSQL inferred.
struct Encoded {
    bytes: Option<Vec<u8>>,
    info: PgTypeInfo,
}

impl Type<Postgres> for Encoded {
    fn type_info() -> PgTypeInfo {
        // Never asked: `produces` knows the type.
        PgTypeInfo::with_oid(sqlx::postgres::types::Oid(TEXT_OID))
    }
}

impl Encode<'_, Postgres> for Encoded {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match &self.bytes {
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.info.clone())
    }
}

/// Adds one parameter. The error says what does not fit.
pub fn add(arguments: &mut PgArguments, value: &Value, info: &PgTypeInfo) -> Result<(), String> {
    let bytes = match value {
        Value::Null => None,
        value => Some(encode(value, info)?),
    };
    arguments.add(Encoded { bytes, info: info.clone() }).map_err(|error| error.to_string())
}

fn encode(value: &Value, info: &PgTypeInfo) -> Result<Vec<u8>, String> {
    let kind = kind_of(info).ok_or_else(|| format!("type {} is not supported", info.name()))?;
    let misfit = || format!("{} does not fit type {}", name_of(value), info.name());
    Ok(match (value, kind) {
        (Value::Boolean(flag), Kind::Boolean) => vec![u8::from(*flag)],
        (Value::Integer(number), Kind::Int2) => i16::try_from(*number).map_err(|_| misfit())?.to_be_bytes().to_vec(),
        (Value::Integer(number), Kind::Int4) => i32::try_from(*number).map_err(|_| misfit())?.to_be_bytes().to_vec(),
        (Value::Integer(number), Kind::Int8) => number.to_be_bytes().to_vec(),
        (Value::Integer(number), Kind::Float8) => (*number as f64).to_be_bytes().to_vec(),
        (Value::Integer(number), Kind::Float4) => (*number as f32).to_be_bytes().to_vec(),
        (Value::Integer(number), Kind::Numeric) => numeric::encode(&number.to_string()).ok_or_else(misfit)?,
        (Value::Float(number), Kind::Float8) => number.to_be_bytes().to_vec(),
        (Value::Float(number), Kind::Float4) => (*number as f32).to_be_bytes().to_vec(),
        (Value::Numeric(digits), Kind::Numeric) => numeric::encode(digits).ok_or_else(misfit)?,
        (Value::Text(text), Kind::Text) => without_nul(text)?.to_vec(),
        (Value::Bytes(bytes), Kind::Bytes) => bytes.clone(),
        (Value::Uuid(text), Kind::Uuid) => parse_uuid(text)?.as_bytes().to_vec(),
        (Value::Date(text), Kind::Date) => encode_date(text).ok_or_else(misfit)?.to_vec(),
        (Value::Time(text), Kind::Time) => encode_time(text).ok_or_else(misfit)?.to_vec(),
        (Value::Timestamp(micros), Kind::Timestamp) => {
            micros.checked_sub(EPOCH_MICROS).ok_or_else(misfit)?.to_be_bytes().to_vec()
        }
        (Value::Json(text), Kind::Json) => without_nul(text)?.to_vec(),
        // The leading byte is the version of the format.
        (Value::Json(text), Kind::Jsonb) => [b"\x01", without_nul(text)?].concat(),
        (Value::TextArray(items), Kind::TextArray) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| without_nul(item)).collect();
            // Elements of varchar[] and name[] are sent as what they are.
            let element = match info.oid().map(|oid| oid.0) {
                Some(1015) => 1043,
                Some(1003) => 19,
                _ => TEXT_OID,
            };
            encode_array(element, &items?)
        }
        (Value::UuidArray(items), Kind::UuidArray) => {
            let items: Result<Vec<Uuid>, _> = items.iter().map(|item| parse_uuid(item)).collect();
            let items = items?;
            encode_array(UUID_OID, &items.iter().map(|item| item.as_bytes().as_slice()).collect::<Vec<_>>())
        }
        _ => return Err(misfit()),
    })
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Numeric(_) => "a numeric",
        Value::Text(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::Uuid(_) => "a uuid",
        Value::Date(_) => "a date",
        Value::Time(_) => "a time",
        Value::Timestamp(_) => "a timestamp",
        Value::Json(_) => "json",
        Value::TextArray(_) => "a text array",
        Value::UuidArray(_) => "a uuid array",
    }
}

/// PostgreSQL's text knows no U+0000.
fn without_nul(text: &str) -> Result<&[u8], String> {
    if text.contains('\0') { Err("contains the character U+0000".into()) } else { Ok(text.as_bytes()) }
}

fn parse_uuid(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text).map_err(|_| "is not a uuid".into())
}

fn postgres_epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()
}

fn encode_date(text: &str) -> Option<[u8; 4]> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let days = date.signed_duration_since(postgres_epoch()).num_days();
    Some(i32::try_from(days).ok()?.to_be_bytes())
}

fn encode_time(text: &str) -> Option<[u8; 8]> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    let micros = i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000);
    Some(micros.to_be_bytes())
}

/// One dimension, no nulls.
fn encode_array(element: u32, items: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let dimensions = i32::from(!items.is_empty());
    bytes.extend(dimensions.to_be_bytes());
    bytes.extend(0_i32.to_be_bytes());
    bytes.extend(element.to_be_bytes());
    if !items.is_empty() {
        // A parameter is bounded by the component's memory, far below i32.
        bytes.extend((items.len() as i32).to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for item in items {
        bytes.extend((item.len() as i32).to_be_bytes());
        bytes.extend(*item);
    }
    bytes
}

pub fn decode(raw: &PgValueRef<'_>) -> Result<Value, Error> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let info = raw.type_info();
    let unsupported = || Error::Invalid(format!("a column of type {} has no `value`; cast it", info.name()));
    let kind = kind_of(&info).ok_or_else(unsupported)?;
    let bytes = raw.as_bytes().map_err(|error| Error::Invalid(error.to_string()))?;
    decode_bytes(kind, bytes).ok_or_else(|| Error::Invalid(format!("a value of type {} cannot be read", info.name())))
}

fn decode_bytes(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(match kind {
        Kind::Boolean => Value::Boolean(*bytes.first()? != 0),
        Kind::Int2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Int8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Float4 => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Kind::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Numeric => Value::Numeric(numeric::decode(bytes)?),
        Kind::Text => Value::Text(text(bytes)?),
        Kind::Bytes => Value::Bytes(bytes.to_vec()),
        Kind::Uuid => Value::Uuid(Uuid::from_slice(bytes).ok()?.to_string()),
        Kind::Date => Value::Date(decode_date(i32::from_be_bytes(bytes.try_into().ok()?))?),
        Kind::Time => Value::Time(decode_time(i64::from_be_bytes(bytes.try_into().ok()?))?),
        Kind::Timestamp => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            // The ends of the range stand for minus and plus infinity.
            let finite = micros != i64::MIN && micros != i64::MAX;
            Value::Timestamp(finite.then_some(micros)?.checked_add(EPOCH_MICROS)?)
        }
        Kind::Json => Value::Json(text(bytes)?),
        Kind::Jsonb => Value::Json(text(bytes.strip_prefix(b"\x01")?)?),
        Kind::TextArray => Value::TextArray(decode_array(bytes)?.into_iter().map(text).collect::<Option<_>>()?),
        Kind::UuidArray => {
            let uuid = |item: &[u8]| Some(Uuid::from_slice(item).ok()?.to_string());
            Value::UuidArray(decode_array(bytes)?.into_iter().map(uuid).collect::<Option<_>>()?)
        }
        Kind::Void => Value::Null,
    })
}

fn decode_date(days: i32) -> Option<String> {
    let date = postgres_epoch().checked_add_signed(chrono::TimeDelta::try_days(days.into())?)?;
    Some(date.format("%Y-%m-%d").to_string())
}

fn decode_time(micros: i64) -> Option<String> {
    let seconds = u32::try_from(micros / 1_000_000).ok()?;
    let nanos = u32::try_from(micros % 1_000_000).ok()? * 1_000;
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)?;
    Some(if nanos == 0 { time.format("%H:%M:%S").to_string() } else { time.format("%H:%M:%S%.6f").to_string() })
}

fn decode_array(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(bytes);
    let dimensions = reader.int()?;
    let _has_nulls = reader.int()?;
    let _element = reader.int()?;
    if dimensions == 0 {
        return Some(Vec::new());
    }
    if dimensions != 1 {
        return None;
    }
    let count = reader.int()?;
    let _lower_bound = reader.int()?;
    let mut items = Vec::new();
    for _ in 0..count {
        // -1 is null.
        let length = usize::try_from(reader.int()?).ok()?;
        items.push(reader.take(length)?);
    }
    Some(items)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}
