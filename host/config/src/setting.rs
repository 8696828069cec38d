//! A setting that the operator's file declares for a component: its kind, its
//! default, and which values are good.

use super::{Profile, origin::origin_of, source};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::time::Duration;

/// A setting that the component may read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub kind: Kind,
    default: Option<toml::Value>,
    min: Option<i64>,
    max: Option<i64>,
    /// Never shown.
    #[serde(default)]
    secret: bool,
    /// The only value that production accepts, which is also its default there;
    /// `required` and `refused` stand for any and none.
    production: Option<toml::Value>,
    /// Has to be set when that other setting is.
    pub required_with: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Text,
    Integer,
    Boolean,
    Duration,
    /// An http or https URL.
    Url,
    /// `host:port`.
    Host,
}

impl Setting {
    /// The value where the operator gives none.
    pub fn default_in(&self, profile: Profile) -> Option<String> {
        let demanded = self.production.as_ref().filter(|_| profile == Profile::Production).map(plain);
        let demanded = demanded.filter(|value| !["required", "refused"].contains(&value.as_str()));
        demanded.or_else(|| self.default.as_ref().map(plain))
    }

    pub fn check_production(&self, key: &str, value: Option<&str>) -> Result<()> {
        let Some(demanded) = self.production.as_ref().map(plain) else { return Ok(()) };
        match (demanded.as_str(), value) {
            ("required", None) => bail!("{key} is required in production"),
            ("required", Some(_)) | ("refused", None) => Ok(()),
            ("refused", Some(_)) => bail!("{key} is refused in production"),
            (demanded, Some(value)) if demanded != value => bail!("{key}={value} is refused in production"),
            _ => Ok(()),
        }
    }

    pub fn check(&self, key: &str, text: &str) -> Result<String> {
        match self.kind {
            Kind::Text => Ok(text.to_owned()),
            Kind::Url => {
                // It may hold a key: a secret one is not repeated.
                let shown = if self.secret { "the value" } else { text };
                let url = origin_of(text).map(|_| text.to_owned());
                url.with_context(|| format!("{key}: {shown} is not a URL that begins with http:// or https://"))
            }
            Kind::Host => {
                let origin = origin_of(&format!("http://{text}")).filter(|_| !text.contains(['/', '@', '?', '#']));
                origin.with_context(|| format!("{key}: `{text}` is not a host such as 127.0.0.1:9099"))?;
                Ok(text.to_owned())
            }
            Kind::Boolean => match text {
                "true" | "false" => Ok(text.to_owned()),
                _ => bail!("{key}: `{text}` is neither `true` nor `false`"),
            },
            Kind::Duration => {
                let duration: Option<Duration> = source::parse_duration(text);
                let seconds = duration.map(|duration| duration.as_secs().to_string());
                seconds.with_context(|| format!("{key}: `{text}` is not a duration such as 90s, 15m, 12h or 7d"))
            }
            Kind::Integer => {
                let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
                let number = text.parse().ok().filter(|number: &i64| (min..=max).contains(number));
                number
                    .map(|number| number.to_string())
                    .with_context(|| format!("{key}: `{text}` is not a whole number from {min} to {max}"))
            }
        }
    }
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(text: &str) -> Setting {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn production_has_its_own_default_where_it_accepts_one_value_only() {
        for (text, development, production) in [
            ("kind = \"boolean\"\ndefault = true\nproduction = false", Some("true"), Some("false")),
            ("kind = \"integer\"\ndefault = 5", Some("5"), Some("5")),
            ("kind = \"text\"\nproduction = \"required\"", None, None),
            ("kind = \"text\"\ndefault = \"a\"\nproduction = \"refused\"", Some("a"), Some("a")),
        ] {
            let default = |profile| setting(text).default_in(profile);
            assert_eq!(default(Profile::Development).as_deref(), development, "{text}");
            assert_eq!(default(Profile::Production).as_deref(), production, "{text}");
        }
    }

    #[test]
    fn production_refuses_any_other_value() {
        let setting = setting("kind = \"boolean\"\ndefault = true\nproduction = false");
        assert!(setting.check_production("SWITCH", Some("false")).is_ok());
        let refused = setting.check_production("SWITCH", Some("true")).unwrap_err();
        assert_eq!(refused.to_string(), "SWITCH=true is refused in production");
    }
}
