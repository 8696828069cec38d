//! Rows as structs, matched by column name.

use crate::{
    database_error::Error,
    value::{Column, Value},
};

/// A struct that one row gives; declared with [`row!`](crate::row!).
pub trait FromRow: Sized {
    fn from_row(row: &Row<'_>) -> Result<Self, Error>;
}

/// One row of a result.
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
    prefix: &'static str,
}

impl<'a> Row<'a> {
    pub(crate) fn new(columns: &'a [String], values: &'a [Value]) -> Self {
        Self { columns, values, prefix: "" }
    }

    /// The column of that name.
    pub fn column<T: Column>(&self, name: &str) -> Result<T, Error> {
        let is_it = |column: &String| column.strip_prefix(self.prefix) == Some(name);
        let value = self.columns.iter().position(is_it).and_then(|position| self.values.get(position));
        let found = value.ok_or_else(|| Error::Invalid(format!("there is no column {}{name}", self.prefix)))?;
        T::from_value(found).ok_or_else(|| Error::Invalid(format!("column {}{name} is {found:?}", self.prefix)))
    }

    /// Whether all of its columns are null, as those of an outer join that found
    /// nothing.
    fn is_null(&self) -> bool {
        let mut columns = self.columns.iter().zip(self.values);
        columns.all(|(column, value)| !column.starts_with(self.prefix) || matches!(value, Value::Null))
    }

    /// What the columns give whose names begin with `prefix`.
    pub fn nested<T: FromRow>(&self, prefix: &'static str) -> Result<T, Error> {
        T::from_row(&Self { prefix, ..*self })
    }
}

/// The other side of an outer join.
impl<T: FromRow> FromRow for Option<T> {
    fn from_row(row: &Row<'_>) -> Result<Self, Error> {
        if row.is_null() { Ok(None) } else { T::from_row(row).map(Some) }
    }
}

/// Declares a struct that a row gives and that serializes as it stands, and is
/// described so.
///
/// A field is the column of its name; `as "room_"` makes it a struct of its own,
/// of the columns `room_…`, or an `Option` of one, none if all of them are null.
#[macro_export]
macro_rules! row {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(as $prefix:literal)?),+ $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, $crate::__private::schemars::JsonSchema, $crate::__private::serde::Serialize)]
        #[schemars(crate = "sdk::__private::schemars")]
        #[serde(crate = "sdk::__private::serde")]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }

        impl $crate::row::FromRow for $name {
            fn from_row(row: &$crate::row::Row<'_>) -> Result<Self, $crate::database::Error> {
                Ok(Self { $($field: $crate::row!(@read row $field $($prefix)?)),+ })
            }
        }
    )+};
    (@read $row:ident $field:ident) => { $row.column(stringify!($field))? };
    (@read $row:ident $field:ident $prefix:literal) => { $row.nested($prefix)? };
}

#[cfg(test)]
mod tests {
    use super::*;

    row! {
        struct Room { id: i64, name: Option<String> }
        struct Class { id: i64, room: Room as "room_" }
        struct Lesson { id: i64, room: Option<Room> as "room_" }
    }

    #[test]
    fn columns_are_found_by_name_and_prefix() {
        let columns = ["room_name", "id", "room_id"].map(String::from);
        let values = [Value::Null, Value::Integer(1), Value::Integer(2)];
        let class = Class::from_row(&Row::new(&columns, &values)).map(|class| serde_json::json!(class));
        assert_eq!(class.ok(), Some(serde_json::json!({ "id": 1, "room": { "id": 2, "name": null } })));
    }

    #[test]
    fn an_outer_join_may_find_nothing() {
        let columns = ["id", "room_id", "room_name"].map(String::from);
        let lesson = |room_id| {
            let values = [Value::Integer(1), room_id, Value::Null];
            Lesson::from_row(&Row::new(&columns, &values)).map(|lesson| serde_json::json!(lesson)).ok()
        };
        assert_eq!(lesson(Value::Null), Some(serde_json::json!({ "id": 1, "room": null })));
        assert_eq!(lesson(Value::Integer(2)), Some(serde_json::json!({ "id": 1, "room": { "id": 2, "name": null } })));
    }

    #[test]
    fn a_column_of_another_type_is_an_error() {
        let columns = ["id", "name"].map(String::from);
        let values = [Value::Text("1".into()), Value::Null];
        assert!(matches!(Room::from_row(&Row::new(&columns, &values)), Err(Error::Invalid(_))));
    }
}
