//! What a handler is given: each argument type reads its part of the request
//! and says what it reads.

use crate::{
    call::Call,
    error::{Error, Result as Answer},
    field::{Field, Input as Raw},
    problem::{Flaw, Problem, Problems},
    request::{Member, Request, Source},
};
use serde_json::{Map, Value};
use std::marker::PhantomData;

/// An argument of a handler.
pub trait Extract: Sized {
    fn extract(call: &Call) -> Result<Self, Problems>;

    fn inputs() -> Vec<Input>;
}

/// One part of a request that a route reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The schemas of the path's parameters, in their order.
    Path(Vec<Value>),
    Query(Vec<Member>),
    Body {
        required: bool,
        schema: Value,
    },
}

/// The parameters of the path: one [`Field`], or a pair.
pub struct Path<T>(pub T);

/// The query parameters, as a [`Request`].
pub struct Query<T>(pub T);

/// The body, as a [`Request`].
pub struct Body<T>(pub T);

/// A body that may be absent, which then means `{}`.
pub struct OptionalBody<T>(pub T);

/// A part of the request that the handler reads itself, after checks of its own.
pub struct Unread<T>(PhantomData<T>);

impl<T: Extract> Unread<T> {
    pub fn read(self, call: &Call) -> Answer<T> {
        T::extract(call).map_err(Error::from)
    }
}

/// What the parameters of a path can be read as.
pub trait Parameters: Sized {
    fn read(call: &Call) -> Result<Self, Problems>;

    fn schemas() -> Vec<Value>;
}

impl<T: Field> Parameters for T {
    fn read(call: &Call) -> Result<Self, Problems> {
        parameter(call, 0)
    }

    fn schemas() -> Vec<Value> {
        vec![T::schema()]
    }
}

impl<A: Field, B: Field> Parameters for (A, B) {
    fn read(call: &Call) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        match (problems.take(parameter(call, 0)), problems.take(parameter(call, 1))) {
            (Some(first), Some(second)) => Ok((first, second)),
            _ => Err(problems),
        }
    }

    fn schemas() -> Vec<Value> {
        vec![A::schema(), B::schema()]
    }
}

fn parameter<T: Field>(call: &Call, position: usize) -> Result<T, Problems> {
    // A route whose path has fewer parameters than its handler reads is a
    // mistake that shows at its first request.
    let (name, text) = call.params().nth(position).unwrap_or_default();
    T::parse(Raw::Text(text)).map_err(|problems| problems.inside(name))
}

impl<T: Parameters> Extract for Path<T> {
    fn extract(call: &Call) -> Result<Self, Problems> {
        T::read(call).map(Self)
    }

    fn inputs() -> Vec<Input> {
        vec![Input::Path(T::schemas())]
    }
}

impl<T: Request> Extract for Query<T> {
    fn extract(call: &Call) -> Result<Self, Problems> {
        T::read(&Source::Query(call.query())).map(Self)
    }

    fn inputs() -> Vec<Input> {
        vec![Input::Query(T::members())]
    }
}

impl<T: Request> Extract for Body<T> {
    fn extract(call: &Call) -> Result<Self, Problems> {
        if call.body().is_empty() {
            return Err(Problem::new(Flaw::InvalidType, "The request needs a body").into());
        }
        T::read(&Source::Body(&object(call)?)).map(Self)
    }

    fn inputs() -> Vec<Input> {
        vec![Input::Body { required: true, schema: T::object() }]
    }
}

impl<T: Request> Extract for OptionalBody<T> {
    fn extract(call: &Call) -> Result<Self, Problems> {
        let object = if call.body().is_empty() { Map::new() } else { object(call)? };
        T::read(&Source::Body(&object)).map(Self)
    }

    fn inputs() -> Vec<Input> {
        vec![Input::Body { required: false, schema: T::object() }]
    }
}

impl<T: Extract> Extract for Unread<T> {
    fn extract(_: &Call) -> Result<Self, Problems> {
        Ok(Self(PhantomData))
    }

    fn inputs() -> Vec<Input> {
        T::inputs()
    }
}

fn object(call: &Call) -> Result<Map<String, Value>, Problem> {
    let media_type = call.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Flaw::InvalidType, "The content type must be application/json"));
    }
    match serde_json::from_slice(call.body()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::new(Flaw::InvalidType, "The body must be a JSON object")),
        Err(_) => Err(Problem::new(Flaw::InvalidType, "The body is not valid JSON")),
    }
}
