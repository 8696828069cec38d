//! Fixed vocabularies: one declaration gives the enum, its words in JSON, and
//! its words in PostgreSQL.

/// ```
/// sdk::choice! {
///     pub enum Level {
///         Beginner = "beginner",
///         AllLevels = "all_levels",
///     }
/// }
/// assert_eq!(Level::parse("all_levels"), Some(Level::AllLevels));
/// ```
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl $crate::__private::serde::Serialize for $name {
            fn serialize<S: $crate::__private::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> $crate::__private::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::__private::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::__private::parsed(deserializer, Self::parse)
            }
        }

        impl $crate::field::Field for $name {
            fn parse(input: $crate::field::Input<'_>) -> Result<Self, $crate::Problems> {
                Self::parse(input.text()?).ok_or_else(|| {
                    let message = format!("must be one of {}", Self::WORDS.join(", "));
                    $crate::Problem::new($crate::Flaw::InvalidEnumValue, message).into()
                })
            }

            fn schema() -> $crate::__private::serde_json::Value {
                $crate::__private::serde_json::json!({ "type": "string", "enum": Self::WORDS })
            }
        }

        $crate::__shown_as_read!($name);

        impl $crate::database::Param for $name {
            fn to_value(&self) -> $crate::database::Value {
                $crate::database::Value::Text(self.word().to_owned())
            }
        }

        impl $crate::database::Column for $name {
            fn from_value(value: &$crate::database::Value) -> Option<Self> {
                match value {
                    $crate::database::Value::Text(word) => Self::parse(word),
                    _ => None,
                }
            }
        }
    };
}
