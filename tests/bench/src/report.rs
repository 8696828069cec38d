//! What a proof has found: a table for people, one JSON object for programs.

use crate::median;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(Default)]
pub struct Report {
    result: Map<String, Value>,
    pub table: Vec<String>,
    pub notes: Vec<String>,
}

impl Report {
    /// The outcome of one part; its keys are null if it failed.
    pub fn part<T>(&mut self, what: &str, outcome: Result<T>) -> Option<T> {
        outcome.inspect_err(|error| self.notes.push(format!("{what} could not be measured: {error:#}"))).ok()
    }

    /// Rounded to three places.
    pub fn set(&mut self, key: &str, value: Option<f64>) {
        let value = value.filter(|value| value.is_finite());
        self.result.insert(key.into(), value.map_or(Value::Null, |value| json!((value * 1000.0).round() / 1000.0)));
    }

    pub fn count(&mut self, key: &str, number: impl Serialize) {
        self.result.insert(key.into(), json!(number));
    }

    /// The median and the spread of what was measured.
    pub fn line(&mut self, what: &str, values: &[f64], unit: &str) {
        self.table.push(format!("{what:44} {:>10.2} {unit:4} {}", median(values.to_vec()), spread(values)));
    }

    pub fn print(mut self) {
        println!("{:44} {:>10}      lowest … highest", "", "median");
        self.table.iter().for_each(|line| println!("{line}"));
        self.result.insert("notes".into(), json!(self.notes));
        println!("{}", Value::Object(self.result));
    }
}

/// `lowest … highest`.
pub fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{low:.2} … {high:.2}")
}
