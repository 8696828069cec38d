//! Lists with a least and a greatest number of items.

use super::{Field, Input};
use crate::{
    field::Text,
    problem::{Flaw, Problem, Problems},
    value::{Param, Value as Cell},
};
use serde_json::{Value, json};

/// Only in bodies.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    pub fn items(&self) -> &[T] {
        &self.0
    }
}

impl<T: Field, const MIN: usize, const MAX: usize> Field for List<T, MIN, MAX> {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let Input::Json(Value::Array(items)) = input else {
            return Err(Problem::new(Flaw::InvalidType, "must be a list").into());
        };
        if items.len() < MIN {
            return Err(Problem::new(Flaw::TooSmall, format!("must have at least {MIN} items")).into());
        }
        // Judged before the items, so that an endless list of wrong ones does
        // not become an endless answer.
        if items.len() > MAX {
            return Err(Problem::new(Flaw::TooBig, format!("must have at most {MAX} items")).into());
        }
        let mut problems = Problems::default();
        let read = |(index, item)| T::parse(Input::Json(item)).map_err(|found| found.inside(index));
        let items = items.iter().enumerate().filter_map(|item| problems.take(read(item))).collect();
        problems.none_or(Self(items))
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema(), "minItems": MIN, "maxItems": MAX })
    }
}

impl<const A: usize, const B: usize, const MIN: usize, const MAX: usize> Param for List<Text<A, B>, MIN, MAX> {
    fn to_value(&self) -> Cell {
        Cell::TextArray(self.0.iter().map(|text| text.as_str().to_owned()).collect())
    }
}
