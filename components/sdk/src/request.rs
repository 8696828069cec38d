//! What a body or query may contain, as a declaration.
//!
//! The type of a member says both what it holds and whether it may be missing:
//!
//! | type | absent | `null` | value |
//! |---|---|---|---|
//! | `T` | `invalid_type` | `invalid_type` | read |
//! | `Option<T>` | `None` | `None` | read |
//! | `Patch<T>` | `Keep` | `invalid_type` | `Set` |
//! | `Patch<Option<T>>` | `Keep` | `Set(None)` | `Set(Some)` |
//! | `Sent` | false | true | true |

use crate::{
    call::QueryString,
    field::{Field, Input},
    problem::{Flaw, Problem, Problems},
    value::{Param, Value as Cell},
};
use serde_json::{Map, Value, json};

/// What [`request!`](crate::request!) declares.
pub trait Request: Sized {
    fn read(source: &Source<'_>) -> Result<Self, Problems>;

    fn members() -> Vec<Member>;

    /// The JSON schema of a body, as far as one can say what is read.
    fn object() -> Value {
        object(Self::members())
    }
}

/// One member, for documents made from the declarations.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: &'static str,
    pub required: bool,
    pub schema: Value,
}

impl Member {
    /// The member is read under that name as well.
    pub fn or(mut self, alias: &str) -> Self {
        if let Some(schema) = self.schema.as_object_mut() {
            schema.insert("description".into(), format!("Also read as `{alias}`.").into());
        }
        self
    }
}

/// An object of these members, and of any others, which are ignored.
pub fn object(members: Vec<Member>) -> Value {
    let required: Vec<&str> = members.iter().filter(|member| member.required).map(|member| member.name).collect();
    let mut schema = json!({ "type": "object", "properties": {}, "required": required });
    for Member { name, schema: member, .. } in members {
        match name.strip_suffix('*') {
            None => schema["properties"][name] = member,
            Some(start) => schema["patternProperties"][format!("^{start}")] = member,
        }
    }
    schema
}

/// As [`object`], with at least one of the members that may be sent.
pub fn partial_object(members: Vec<Member>) -> Value {
    let may_be_sent = members.iter().filter(|member| member.schema != Value::Bool(false));
    let one: Vec<Value> = may_be_sent.map(|member| json!({ "required": [member.name] })).collect();
    let mut schema = object(members);
    schema["anyOf"] = one.into();
    schema
}

/// Where a request's members are looked up.
pub enum Source<'a> {
    Body(&'a Map<String, Value>),
    Query(&'a QueryString),
}

impl<'a> Source<'a> {
    fn get(&self, name: &str) -> Option<Input<'a>> {
        match self {
            Self::Body(object) => match name.strip_suffix('*') {
                None => object.get(name).map(Input::Json),
                Some(start) => {
                    object.iter().find(|(key, _)| key.starts_with(start)).map(|(_, value)| Input::Json(value))
                }
            },
            Self::Query(query) => query.get(name).map(Input::Text),
        }
    }

    /// Reads one member, under the first of its names that is there. In a body
    /// `name*` is the first member whose name begins so.
    pub fn member<P: Presence>(&self, names: &[&'static str]) -> Result<P, Problems> {
        let given = names.iter().find_map(|name| Some((*name, self.get(name)?)));
        let name = given.map(|(name, _)| name).or(names.first().copied()).unwrap_or_default();
        P::read(given.map(|(_, input)| input)).map_err(|problems| problems.inside(name))
    }
}

/// How a member deals with being absent.
pub trait Presence: Sized {
    const REQUIRED: bool;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems>;

    fn schema() -> Value;

    /// Whether the caller sent something that counts as a change.
    fn is_given(&self) -> bool {
        true
    }
}

/// A request can be a member of another one: an object in its body.
impl<T: Request> Field for T {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        match input {
            Input::Json(Value::Object(object)) => T::read(&Source::Body(object)),
            _ => Err(Problem::new(Flaw::InvalidType, "must be an object").into()),
        }
    }

    fn schema() -> Value {
        T::object()
    }
}

/// A member of a partial update.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch<T> {
    Keep,
    Set(T),
}

impl<T> Patch<T> {
    /// The new value, if there is one.
    pub fn as_option(&self) -> Option<&T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(value),
        }
    }

    pub fn is_set(&self) -> bool {
        matches!(self, Self::Set(_))
    }
}

/// Whether a member was sent, whatever it holds: for what a caller may not set,
/// which is another refusal than a value that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(pub bool);

/// As a parameter null means "keep": for statements that say
/// `coalesce($1, column)`. Where null is a value, [`Patch::is_set`] has to be a
/// parameter as well.
impl<T: Param> Param for Patch<T> {
    fn to_value(&self) -> Cell {
        self.as_option().map_or(Cell::Null, T::to_value)
    }
}

fn is_null(input: &Input<'_>) -> bool {
    matches!(input, Input::Json(Value::Null))
}

fn nullable(mut schema: Value) -> Value {
    // Of null a format says nothing, but not every reader knows.
    let has_format = schema.get("format").is_some();
    if let Some(kind) = schema.get_mut("type").filter(|_| !has_format) {
        *kind = Value::Array(vec![kind.take(), "null".into()]);
        if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
        return schema;
    }
    json!({ "anyOf": [schema, { "type": "null" }] })
}

impl<T: Field> Presence for T {
    const REQUIRED: bool = true;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems> {
        match given.filter(|input| !is_null(input)) {
            Some(input) => T::parse(input),
            None => Err(Problem::new(Flaw::InvalidType, "is required").into()),
        }
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Field> Presence for Option<T> {
    const REQUIRED: bool = false;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems> {
        given.filter(|input| !is_null(input)).map(T::parse).transpose()
    }

    fn schema() -> Value {
        nullable(T::schema())
    }

    fn is_given(&self) -> bool {
        self.is_some()
    }
}

impl<T: Field> Presence for Patch<T> {
    const REQUIRED: bool = false;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems> {
        match given {
            None => Ok(Self::Keep),
            Some(input) if is_null(&input) => Err(Problem::new(Flaw::InvalidType, "must not be null").into()),
            Some(input) => T::parse(input).map(Self::Set),
        }
    }

    fn schema() -> Value {
        T::schema()
    }

    fn is_given(&self) -> bool {
        self.is_set()
    }
}

impl<T: Field> Presence for Patch<Option<T>> {
    const REQUIRED: bool = false;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems> {
        given.map_or(Ok(Self::Keep), |input| Option::<T>::read(Some(input)).map(Self::Set))
    }

    fn schema() -> Value {
        nullable(T::schema())
    }

    fn is_given(&self) -> bool {
        self.is_set()
    }
}

impl Presence for Sent {
    const REQUIRED: bool = false;

    fn read(given: Option<Input<'_>>) -> Result<Self, Problems> {
        Ok(Self(given.is_some()))
    }

    /// What nothing fits.
    fn schema() -> Value {
        Value::Bool(false)
    }

    fn is_given(&self) -> bool {
        self.0
    }
}

/// Declares a body or query.
///
/// `as` gives a member another name outside (a string, if it is no word of
/// Rust), `alias` a second one. After
/// `where` stand rules across members, as functions of references to them that
/// return a [`Problem`] if broken. A `partial struct` needs at least one member.
///
/// ```
/// use sdk::{Amount, Patch, Problem, Text};
///
/// sdk::request! {
///     pub struct Filter {
///         pub search alias q: Option<Text<0, 100>>,
///         pub min_price: Option<Amount>,
///         pub max_price: Option<Amount>,
///     }
///     where is_range(min_price, max_price)
/// }
///
/// fn is_range(min: &Option<Amount>, max: &Option<Amount>) -> Result<(), Problem> {
///     match (min, max) {
///         (Some(min), Some(max)) if min > max => Err(Problem::custom("max_price", "must not be below min_price")),
///         _ => Ok(()),
///     }
/// }
///
/// sdk::request! {
///     pub partial struct Changes {
///         pub title: Patch<Text<1, 255>>,
///         pub description: Patch<Option<Text<0, 5000>>>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! request {
    ($(#[$meta:meta])* $vis:vis partial struct $name:ident $($rest:tt)+) => {
        $crate::request!(@struct partial $(#[$meta])* $vis struct $name $($rest)+);
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident $($rest:tt)+) => {
        $crate::request!(@struct whole $(#[$meta])* $vis struct $name $($rest)+);
    };
    (@struct $kind:ident
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field_vis:vis $field:ident $(as $outer:tt)? $(alias $alias:ident)?: $type:ty
            ),+ $(,)?
        }
        $(where $($rule:ident($($arg:ident),+)),+ $(,)?)?
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type),+
        }

        impl $crate::request::Request for $name {
            fn read(source: &$crate::request::Source<'_>) -> Result<Self, $crate::Problems> {
                let mut problems = $crate::Problems::default();
                $(
                    let names = [$crate::request!(@name $field $($outer)?) $(, stringify!($alias))?];
                    let $field = problems.take(source.member::<$type>(&names));
                )+
                $($(
                    // A rule is judged whenever its members are good, so that
                    // the answer names all problems at once.
                    if let ($(Some($arg),)+) = ($(&$arg,)+) {
                        problems.take($rule($($arg),+).map_err($crate::Problems::from));
                    }
                )+)?
                let ($(Some($field),)+) = ($($field,)+) else { return Err(problems) };
                $crate::request!(@nonempty $kind problems $($field)+);
                problems.none_or(Self { $($field),+ })
            }

            fn members() -> Vec<$crate::request::Member> {
                vec![$($crate::request::Member {
                    name: $crate::request!(@name $field $($outer)?),
                    required: <$type as $crate::request::Presence>::REQUIRED,
                    schema: <$type as $crate::request::Presence>::schema(),
                }$(.or(stringify!($alias)))?),+]
            }

            fn object() -> $crate::__private::serde_json::Value {
                $crate::request!(@object $kind)(Self::members())
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $outer:ident) => { stringify!($outer) };
    (@name $field:ident $outer:literal) => { $outer };
    (@object whole) => { $crate::request::object };
    (@object partial) => { $crate::request::partial_object };
    (@nonempty whole $($rest:tt)+) => {};
    (@nonempty partial $problems:ident $($field:ident)+) => {
        if $(!$crate::request::Presence::is_given(&$field))&&+ {
            $problems.push($crate::Problem::new($crate::Flaw::Custom, "needs at least one field to change"));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amount, Int, List, Text};

    request! {
        struct Whole {
            title: Text<1, 5>,
            tags: Option<List<Text<1, 3>, 0, 3>>,
            is_active as isActive alias active: Option<bool>,
            min: Option<Amount>,
            max: Option<Amount>,
        }
        where in_order(min, max)
    }

    request! {
        partial struct Partial {
            title: Patch<Text<1, 5>>,
            note: Patch<Option<Int<1, 5>>>,
        }
    }

    request! {
        struct Outer { inner: Option<Partial> }
    }

    fn in_order(min: &Option<Amount>, max: &Option<Amount>) -> Result<(), Problem> {
        match (min, max) {
            (Some(min), Some(max)) if min > max => Err(Problem::custom("max", "must not be below min")),
            _ => Ok(()),
        }
    }

    fn read<T: Request>(value: &Value) -> Result<T, Vec<(String, Flaw)>> {
        let object = value.as_object().cloned().unwrap_or_default();
        T::read(&Source::Body(&object))
            .map_err(|problems| problems.iter().map(|problem| (problem.field(), problem.flaw())).collect())
    }

    fn flaw(field: &str, flaw: Flaw) -> (String, Flaw) {
        (field.to_owned(), flaw)
    }

    #[test]
    fn all_problems_are_named_at_once_with_their_paths() {
        let body = json!({ "title": null, "tags": ["a", 1], "isActive": "yes", "min": 2, "max": 1 });
        let expected = [
            flaw("title", Flaw::InvalidType),
            flaw("tags.1", Flaw::InvalidType),
            flaw("isActive", Flaw::InvalidType),
            flaw("max", Flaw::Custom),
        ];
        assert_eq!(read::<Whole>(&body).err().as_deref(), Some(expected.as_slice()));
    }

    #[test]
    fn null_is_absent_and_unknown_members_are_ignored() {
        let whole = read::<Whole>(&json!({ "title": " a ", "tags": null, "active": true, "else": 1 })).ok();
        let whole =
            whole.map(|whole| (whole.title.as_str().to_owned(), whole.tags, whole.is_active, whole.min, whole.max));
        assert_eq!(whole, Some(("a".to_owned(), None, Some(true), None, None)));
    }

    #[test]
    fn a_partial_update_tells_absent_null_and_value_apart() {
        let partial = read::<Partial>(&json!({ "note": null })).ok();
        assert_eq!(partial.map(|partial| (partial.title.is_set(), partial.note)), Some((false, Patch::Set(None))));
        assert_eq!(read::<Partial>(&json!({ "title": null })).err(), Some(vec![flaw("title", Flaw::InvalidType)]));
        assert_eq!(read::<Partial>(&json!({ "else": 1 })).err(), Some(vec![flaw("", Flaw::Custom)]));
    }

    #[test]
    fn the_problems_of_an_object_carry_its_name() {
        assert!(read::<Outer>(&json!({ "inner": null })).is_ok_and(|outer| outer.inner.is_none()));
        assert!(read::<Outer>(&json!({ "inner": { "note": 5 } })).is_ok_and(|outer| outer.inner.is_some()));
        let flawed = |inner| read::<Outer>(&json!({ "inner": inner })).err();
        assert_eq!(flawed(json!({ "title": 1 })), Some(vec![flaw("inner.title", Flaw::InvalidType)]));
        assert_eq!(flawed(json!([])), Some(vec![flaw("inner", Flaw::InvalidType)]));
        assert_eq!(Outer::members()[0].schema["type"], json!(["object", "null"]));
    }

    request! {
        partial struct Guarded {
            title: Patch<Text<1, 5>>,
            passwords as "password*": Sent,
        }
    }

    #[test]
    fn what_may_not_be_set_is_noticed_by_its_name() {
        let sent = |body| read::<Guarded>(&body).map(|guarded| (guarded.title.is_set(), guarded.passwords.0));
        assert_eq!(sent(json!({ "title": "a" })), Ok((true, false)));
        assert_eq!(sent(json!({ "passwordHash": null })), Ok((false, true)));
        assert_eq!(sent(json!({ "apassword": 1 })), Err(vec![flaw("", Flaw::Custom)]));
    }

    #[test]
    fn a_problem_is_serialized_as_the_contract_says() {
        let object = json!({ "title": "a", "tags": ["abcd"] }).as_object().cloned().unwrap_or_default();
        let problems = <Whole as Request>::read(&Source::Body(&object)).err();
        let expected = json!([{
            "path": ["tags", 0], "field": "tags.0", "code": "too_big", "message": "must have at most 3 characters",
        }]);
        assert_eq!(json!(problems), expected);
    }

    #[test]
    fn the_declaration_can_be_read_as_data() {
        let members = Whole::members();
        assert_eq!(
            members.iter().map(|m| (m.name, m.required)).collect::<Vec<_>>(),
            [("title", true), ("tags", false), ("isActive", false), ("min", false), ("max", false),]
        );
        let pattern = r"^[^\x00]*[^\x00\s][^\x00]*$";
        let title = json!({ "type": "string", "minLength": 1, "maxLength": 5, "pattern": pattern });
        assert_eq!(members[0].schema, title);
        assert_eq!(members[2].schema["description"], "Also read as `active`.");
        let partial = Partial::object();
        assert_eq!(partial["anyOf"], json!([{ "required": ["title"] }, { "required": ["note"] }]));
        assert_eq!(partial["properties"]["note"]["type"], json!(["integer", "null"]));
        let guarded = Guarded::object();
        assert_eq!(guarded["patternProperties"], json!({ "^password": false }));
        assert_eq!(guarded["anyOf"], json!([{ "required": ["title"] }]));
    }

    #[test]
    fn null_is_one_of_the_words_where_it_may_be_sent() {
        let role = <Option<crate::Role> as Presence>::schema();
        assert_eq!(role["enum"], json!(["admin", "instructor", "student", null]));
        let since = <Option<crate::Since> as Presence>::schema();
        assert_eq!(since["anyOf"][1], json!({ "type": "null" }));
    }
}
