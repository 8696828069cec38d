//! Single values of a request, with their rules in their types.
//!
//! A type says all there is to say about a value: how it is read from JSON and
//! from the text of a path or query, what is wrong when it cannot be, and its
//! JSON schema. Whether it may be missing is not its business: see
//! [`request`](crate::request).

mod choice;
pub(crate) mod described;
mod email;
mod id;
mod list;
mod number;
mod text;
mod whatsapp;

pub use email::Email;
pub use id::Uuid;
pub use list::List;
pub use number::{Amount, Int, Money};
pub use text::{NO_MAX, Text, Verbatim};
pub use whatsapp::Whatsapp;

use crate::problem::{Flaw, Problem, Problems};
use serde_json::Value;
use std::num::IntErrorKind;

/// A value as it was sent.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Of a body.
    Json(&'a Value),
    /// Of a path or query, decoded.
    Text(&'a str),
}

/// A value that a request may contain.
pub trait Field: Sized {
    fn parse(input: Input<'_>) -> Result<Self, Problems>;

    /// As a JSON schema of draft 2020-12.
    fn schema() -> Value;
}

impl<'a> Input<'a> {
    /// Text of whatever length. U+0000 is refused here for all, because
    /// PostgreSQL cannot store it.
    pub fn text(self) -> Result<&'a str, Problem> {
        let text = match self {
            Self::Text(text) => text,
            Self::Json(Value::String(text)) => text,
            Self::Json(_) => return Err(Problem::new(Flaw::InvalidType, "must be a string")),
        };
        if text.contains('\0') {
            return Err(Problem::new(Flaw::InvalidString, "must not contain the character U+0000"));
        }
        Ok(text)
    }

    /// A whole number. What `i64` cannot hold is too big or too small, not of
    /// another type; `5.0` is 5, because JSON does not tell the two apart.
    pub fn integer(self) -> Result<i64, Problem> {
        let no_number = || Problem::new(Flaw::InvalidType, "must be a whole number");
        let too_big = || Problem::new(Flaw::TooBig, "is too big");
        let too_small = || Problem::new(Flaw::TooSmall, "is too small");
        match self {
            Self::Text(text) => text.parse::<i64>().map_err(|error| match error.kind() {
                IntErrorKind::PosOverflow => too_big(),
                IntErrorKind::NegOverflow => too_small(),
                _ => no_number(),
            }),
            Self::Json(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(whole),
                // Above 2^53 a float no longer says which number was meant.
                (None, Some(float)) if float >= 9_007_199_254_740_992.0 => Err(too_big()),
                (None, Some(float)) if float <= -9_007_199_254_740_992.0 => Err(too_small()),
                (None, Some(float)) if float.fract() == 0.0 => Ok(float as i64),
                _ => Err(no_number()),
            },
            Self::Json(_) => Err(no_number()),
        }
    }

    /// A finite number.
    pub fn number(self) -> Result<f64, Problem> {
        let number = match self {
            Self::Text(text) => text.parse().ok(),
            Self::Json(value) => value.as_f64(),
        };
        number.filter(|number| number.is_finite()).ok_or_else(|| Problem::new(Flaw::InvalidType, "must be a number"))
    }
}

impl Field for bool {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        match input {
            Input::Json(Value::Bool(flag)) => Ok(*flag),
            Input::Text("true") => Ok(true),
            Input::Text("false") => Ok(false),
            _ => Err(Problem::new(Flaw::InvalidType, "must be true or false").into()),
        }
    }

    fn schema() -> Value {
        serde_json::json!({ "type": "boolean" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The flaw of the only problem, or the value.
    fn judge<T: Field>(input: Input<'_>) -> Result<T, Flaw> {
        T::parse(input).map_err(|problems| problems.iter().next().map_or(Flaw::Custom, Problem::flaw))
    }

    fn json_is<T: Field>(value: Value) -> Result<T, Flaw> {
        judge(Input::Json(&value))
    }

    fn text_is<T: Field>(text: &str) -> Result<T, Flaw> {
        judge(Input::Text(text))
    }

    #[test]
    fn text_is_trimmed_before_it_is_measured_in_characters() {
        assert_eq!(json_is::<Text<1, 3>>(json!("  äöü ")).map(|text| text.as_str().to_owned()), Ok("äöü".into()));
        assert_eq!(json_is::<Text<1, 3>>(json!("   ")).err(), Some(Flaw::TooSmall));
        assert_eq!(json_is::<Text<1, 3>>(json!("abcd")).err(), Some(Flaw::TooBig));
        assert_eq!(json_is::<Text<1, 3>>(json!(5)).err(), Some(Flaw::InvalidType));
        assert_eq!(json_is::<Text<1, 3>>(json!("a\u{0}")).err(), Some(Flaw::InvalidString));
    }

    #[test]
    fn wildcards_in_a_searched_text_stand_for_themselves() {
        let pattern = text_is::<Text<0, 100>>(r"50%_\a").map(|text| text.like_pattern());
        assert_eq!(pattern.as_deref(), Ok(r"%50\%\_\\a%"));
    }

    #[test]
    fn verbatim_text_is_not_touched() {
        assert_eq!(json_is::<Verbatim<1, 3>>(json!(" a ")).map(|text| text.as_str().to_owned()), Ok(" a ".into()));
        assert_eq!(json_is::<Verbatim<1, 3>>(json!("")).err(), Some(Flaw::TooSmall));
    }

    #[test]
    fn integers_of_any_size_are_judged() {
        assert_eq!(json_is::<Int<1, 10>>(json!(5)).map(Int::get), Ok(5));
        assert_eq!(json_is::<Int<1, 10>>(json!(5.0)).map(Int::get), Ok(5));
        assert_eq!(json_is::<Int<1, 10>>(json!(5.5)).err(), Some(Flaw::InvalidType));
        assert_eq!(json_is::<Int<1, 10>>(json!("5")).err(), Some(Flaw::InvalidType));
        assert_eq!(json_is::<Int<1, 10>>(json!(0)).err(), Some(Flaw::TooSmall));
        assert_eq!(json_is::<Int<1, 10>>(json!(u64::MAX)).err(), Some(Flaw::TooBig));
        assert_eq!(json_is::<Int<1, 10>>(json!(1e300)).err(), Some(Flaw::TooBig));
        assert_eq!(json_is::<Int<1, 10>>(json!(-1e300)).err(), Some(Flaw::TooSmall));
        assert_eq!(text_is::<Int<1, 10>>("7").map(Int::get), Ok(7));
        assert_eq!(text_is::<Int<1, 10>>("99999999999999999999").err(), Some(Flaw::TooBig));
        assert_eq!(text_is::<Int<1, 10>>("1.5").err(), Some(Flaw::InvalidType));
        assert_eq!(text_is::<Int<1, 10>>("").err(), Some(Flaw::InvalidType));
    }

    #[test]
    fn money_has_two_decimals_and_a_place_in_its_column() {
        let digits = |value| json_is::<Money>(value).map(|money| money.digits());
        assert_eq!(digits(json!(150_000)), Ok("150000.00".into()));
        assert_eq!(digits(json!(99_999_999.99)), Ok("99999999.99".into()));
        assert_eq!(digits(json!(0.07)), Ok("0.07".into()));
        assert_eq!(digits(json!(-0.0)), Ok("0.00".into()));
        assert_eq!(digits(json!(0.001)).err(), Some(Flaw::Custom));
        assert_eq!(digits(json!(100_000_000)).err(), Some(Flaw::TooBig));
        assert_eq!(digits(json!(-1)).err(), Some(Flaw::TooSmall));
        assert_eq!(digits(json!("1")).err(), Some(Flaw::InvalidType));
    }

    #[test]
    fn amounts_are_finite_and_not_negative() {
        assert!(text_is::<Amount>("10.5").is_ok());
        for (text, flaw) in
            [("-1", Flaw::TooSmall), ("NaN", Flaw::InvalidType), ("inf", Flaw::InvalidType), ("", Flaw::InvalidType)]
        {
            assert_eq!(text_is::<Amount>(text).err(), Some(flaw), "{text}");
        }
    }

    #[test]
    fn uuids_come_out_in_lower_case() {
        let upper = "0D3A1F8E-6A51-1F0C-0B60-1A2B3C4D5E6F";
        assert_eq!(text_is::<Uuid>(upper).map(|id| id.as_str().to_owned()), Ok(upper.to_lowercase()));
        for text in ["", "0d3a1f8e6a511f0c0b601a2b3c4d5e6f", "0d3a1f8e-6a51-1f0c-0b60-1a2b3c4d5e6g", "{}", "é"] {
            assert_eq!(text_is::<Uuid>(text).err(), Some(Flaw::InvalidString), "{text}");
        }
    }

    #[test]
    fn emails_are_judged_by_their_form() {
        for text in ["a@example.org", "First.Last+tag@sub.example-site.co.id", " a@b.co "] {
            assert!(json_is::<Email>(json!(text)).is_ok(), "{text}");
        }
        for text in [
            "",
            "a",
            "a@",
            "@b.co",
            "a@b",
            "a b@c.de",
            "a@b..co",
            "a@-b.co",
            ".a@b.co",
            "a..b@c.de",
            "a@b@c.de",
            "a@b.c1",
        ] {
            assert_eq!(json_is::<Email>(json!(text)).err(), Some(Flaw::InvalidString), "{text}");
        }
        let long = format!("{}@example.org", "a".repeat(250));
        assert_eq!(json_is::<Email>(json!(long)).err(), Some(Flaw::TooBig));
    }

    #[test]
    fn whatsapp_numbers_are_indonesian() {
        assert_eq!(
            json_is::<Whatsapp>(json!(" +628123456789 ")).map(|number| number.as_str().to_owned()),
            Ok("+628123456789".into())
        );
        for text in
            ["", "+62", "+6281234567", "+6281234567890123", "08123456789", "+628123456789x", "+62８１２３４５６７８９"]
        {
            assert_eq!(json_is::<Whatsapp>(json!(text)).err(), Some(Flaw::InvalidString), "{text}");
        }
    }

    #[test]
    fn choices_are_exact() {
        use crate::Role;
        assert_eq!(json_is::<Role>(json!("admin")), Ok(Role::Admin));
        assert_eq!(json_is::<Role>(json!("Admin")), Err(Flaw::InvalidEnumValue));
        assert_eq!(json_is::<Role>(json!(1)), Err(Flaw::InvalidType));
        assert_eq!(Role::schema(), json!({ "type": "string", "enum": ["admin", "instructor", "student"] }));
    }

    #[test]
    fn the_problems_of_a_list_carry_their_index() {
        type Tags = List<Text<1, 3>, 1, 3>;
        let problems = Tags::parse(Input::Json(&json!(["a", 5, "abcd"]))).err();
        let found: Vec<_> = problems.iter().flat_map(Problems::iter).map(|p| (p.field(), p.flaw())).collect();
        assert_eq!(found, [("1".to_owned(), Flaw::InvalidType), ("2".to_owned(), Flaw::TooBig)]);
        assert_eq!(json_is::<Tags>(json!([])).err(), Some(Flaw::TooSmall));
        assert_eq!(json_is::<Tags>(json!([1, 2, 3, 4])).err(), Some(Flaw::TooBig));
        assert_eq!(json_is::<Tags>(json!("a")).err(), Some(Flaw::InvalidType));
    }

    #[test]
    fn booleans_are_words_in_a_query() {
        assert_eq!(json_is::<bool>(json!(true)), Ok(true));
        assert_eq!(json_is::<bool>(json!("true")), Err(Flaw::InvalidType));
        assert_eq!(text_is::<bool>("false"), Ok(false));
        assert_eq!(text_is::<bool>("1"), Err(Flaw::InvalidType));
    }
}
