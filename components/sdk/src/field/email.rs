//! Email addresses, by their form. Whether mail arrives is another question.

use super::{Field, Input};
use crate::{
    problem::{Flaw, Problem, Problems},
    value::{Param, Value as Cell},
};
use serde::Serialize;
use serde_json::{Value, json};

/// As sent, trimmed; PostgreSQL compares it without regard to case (citext).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    const MAX: usize = 255;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Field for Email {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let text = input.text()?.trim();
        if text.chars().count() > Self::MAX {
            return Err(Problem::new(Flaw::TooBig, format!("must have at most {} characters", Self::MAX)).into());
        }
        if !is_address(text) {
            return Err(Problem::new(Flaw::InvalidString, "must be an email address").into());
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "email", "maxLength": Self::MAX })
    }
}

impl Param for Email {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

/// `dot-atom@domain` of RFC 5322, with a domain of at least two labels of
/// letters, digits and hyphens (RFC 1035), the last of letters or punycode.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_atom = |atom: &str| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b))
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let Some((_, top)) = domain.rsplit_once('.') else { return false };
    let is_top = top.starts_with("xn--") || (top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()));
    local.split('.').all(is_atom) && domain.split('.').all(is_label) && is_top
}
