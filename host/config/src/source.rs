//! Looks a setting up: environment first, then `[settings]` of the file.
//!
//! Each look-up marks the key as known, so that `finish` can tell which keys
//! of the file nobody asked for.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

pub struct Source {
    environment: BTreeMap<String, String>,
    file: BTreeMap<String, toml::Value>,
    known: BTreeSet<String>,
}

impl Source {
    pub fn new(environment: BTreeMap<String, String>, file: BTreeMap<String, toml::Value>) -> Source {
        let known = BTreeSet::from(["SHEMA_CONFIG", "SHEMA_CONTROL_URL"].map(String::from));
        Source { environment, file, known }
    }

    /// An empty value counts as unset, as in most shells' scripts.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.known.insert(name.to_owned());
        if let Some(value) = self.environment.get(name) {
            return Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()));
        }
        Ok(match self.file.get(name) {
            None => None,
            Some(toml::Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(toml::Value::Integer(number)) => Some(number.to_string()),
            Some(toml::Value::Boolean(flag)) => Some(flag.to_string()),
            Some(_) => bail!("{name}: has to be a text, a number or true/false"),
        })
    }

    pub fn parse<T: FromStr>(&mut self, name: &str, default: &str, wanted: &str) -> Result<T> {
        let text = self.text(name)?.unwrap_or_else(|| default.to_owned());
        text.parse().ok().with_context(|| format!("{name}: `{text}` is not {wanted}"))
    }

    pub fn choice<T: Clone>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> Result<T> {
        let Some(text) = self.text(name)? else { return Ok(default) };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        bail!("{name}: `{text}` is not one of {}", words.join(", "))
    }

    pub fn boolean(&mut self, name: &str, default: bool) -> Result<bool> {
        self.choice(name, default, &[("true", true), ("false", false)])
    }

    pub fn integer<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> Result<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(name)? else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.with_context(|| {
            format!("{name}: `{text}` is not a whole number from {} to {}", range.start(), range.end())
        })
    }

    /// `<n>s`, `m`, `h` or `d`; at least a second.
    pub fn duration(&mut self, name: &str, default: &str) -> Result<Duration> {
        let text = self.text(name)?.unwrap_or_else(|| default.to_owned());
        parse_duration(&text).with_context(|| format!("{name}: `{text}` is not a duration such as 90s, 15m, 12h or 7d"))
    }

    pub fn list(&mut self, name: &str, default: &str) -> Result<Vec<String>> {
        let text = self.text(name)?.unwrap_or_else(|| default.to_owned());
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(String::from).collect())
    }

    pub fn url(&mut self, name: &str, schemes: &[&str]) -> Result<Option<String>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // The value may hold a password: it is not repeated.
        let scheme = url::Url::parse(&text).map(|url| url.scheme().to_owned());
        let fits = scheme.is_ok_and(|scheme| schemes.contains(&scheme.as_str()));
        ensure!(fits, "{name}: not a URL that begins with {}://", schemes.join(":// or "));
        Ok(Some(text))
    }

    /// Refuses keys of the file that nothing reads; returns a warning for each
    /// `SHEMA_*` variable that nothing reads.
    pub fn finish(self) -> Result<Vec<String>> {
        if let Some(key) = self.file.keys().find(|key| !self.known.contains(*key)) {
            bail!("settings.{key}: there is no such setting{}", self.nearest(key));
        }
        let unread = self.environment.keys().filter(|key| key.starts_with("SHEMA_") && !self.known.contains(*key));
        Ok(unread.map(|key| format!("{key} is no setting of Shema{}", self.nearest(key))).collect())
    }

    fn nearest(&self, key: &str) -> String {
        let scored = self.known.iter().map(|known| (strsim::levenshtein(key, known), known));
        match scored.min() {
            Some((distance, known)) if distance <= key.len() / 2 => format!("; did you mean {known}?"),
            _ => String::new(),
        }
    }
}

pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = count.checked_mul(seconds_per_unit)?;
    // Bounded, so that sums with the present time cannot overflow anywhere.
    (1..=3_650 * 86_400).contains(&seconds).then(|| Duration::from_secs(seconds))
}
