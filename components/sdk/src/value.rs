//! Values that PostgreSQL is given and gives back, and their Rust types.
//!
//! Re-exported by [`database`](crate::database). The types of
//! [`field`](crate::field) and [`time`](crate::time) convert themselves.

pub use crate::bindings::shema::database::sql::Value;

/// What a statement can be given.
pub trait Param {
    fn to_value(&self) -> Value;
}

/// What a row can hold.
pub trait Column: Sized {
    /// None if the column is of another type.
    fn from_value(value: &Value) -> Option<Self>;
}

/// The parameters of a statement, in order.
#[macro_export]
macro_rules! params {
    ($($param:expr),* $(,)?) => { [$($crate::database::Param::to_value(&$param)),*] };
}

impl<T: Param> Param for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl<T: Column> Column for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: Param + ?Sized> Param for &T {
    fn to_value(&self) -> Value {
        (*self).to_value()
    }
}

impl Param for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }
}

impl Param for str {
    fn to_value(&self) -> Value {
        Value::Text(self.to_owned())
    }
}

/// A type that one variant of `value` holds as it is.
macro_rules! plain {
    ($($type:ty => $variant:ident),+ $(,)?) => {$(
        impl Param for $type {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }
        }

        impl Column for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => Some(inner.clone()),
                    _ => None,
                }
            }
        }
    )+};
}

plain! { bool => Boolean, i64 => Integer, String => Text, Vec<u8> => Bytes, Vec<String> => TextArray }
