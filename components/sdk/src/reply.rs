//! What a handler answers, in the contract's envelope.
//!
//! A type of answer tells its statuses, how it is written, and its JSON schema,
//! so that the three cannot differ. A [`File`] alone has neither envelope nor
//! schema: it is for browsers, and no part of the API.

use crate::call::Call;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The statuses that an answer can have, each with the schema of its body.
pub type Answers = Vec<(u16, Value)>;

/// A successful answer. The type tells the status.
pub trait Reply {
    const STATUS: u16;
    /// Whether the description of the API has it.
    const IS_DESCRIBED: bool = true;

    /// Of this answer, where the type leaves a choice.
    fn status(&self) -> u16 {
        Self::STATUS
    }

    /// Beside those that every answer has.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// `meta`: what goes beside the keys that every answer has.
    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>>;

    /// What it can be. `meta` is the schema of what [`body`](Self::body) is given
    /// as such, if anything.
    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers;
}

/// 200 with `data`.
pub struct Data<T>(pub T);

/// 201 with `data`.
pub struct Created<T>(pub T);

/// 201 with `data`, or 200 with what was there before.
pub enum Stored<T> {
    New(T),
    Known(T),
}

/// An answer with more keys in `meta`: those of the struct `M`.
pub struct WithMeta<R, M> {
    reply: R,
    more: M,
}

/// 200 that only says that something is done, in `data.message` and in the
/// top-level `message`. The fields of the struct `T` stand beside the former.
pub struct Ack<T = Nothing> {
    message: &'static str,
    more: T,
}

/// 200 with a file that a browser shows or runs. Its headers say at least what
/// kind of file it is.
pub struct File {
    pub headers: &'static [(&'static str, &'static str)],
    pub text: &'static str,
}

/// No further fields.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub struct Nothing {}

/// Which thing an [`Ack`] is about.
#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
pub struct Id<T> {
    pub id: T,
}

#[derive(JsonSchema, Serialize)]
#[schemars(inline)]
struct Acknowledged<'a, T> {
    message: &'a str,
    #[serde(flatten)]
    more: &'a T,
}

impl Ack {
    pub fn new(message: &'static str) -> Self {
        Self { message, more: Nothing {} }
    }

    /// With further fields in `data`.
    pub fn with<T>(self, more: T) -> Ack<T> {
        Ack { message: self.message, more }
    }
}

impl<T> Data<T> {
    pub fn with_meta<M>(self, more: M) -> WithMeta<Self, M> {
        WithMeta { reply: self, more }
    }
}

impl<T: JsonSchema + Serialize> Reply for Data<T> {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None, meta)
    }

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
        vec![(Self::STATUS, enveloped::<T>(schemas, meta))]
    }
}

impl<T: JsonSchema + Serialize> Reply for Created<T> {
    const STATUS: u16 = 201;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None, meta)
    }

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
        vec![(Self::STATUS, enveloped::<T>(schemas, meta))]
    }
}

impl<T: JsonSchema + Serialize> Reply for Stored<T> {
    const STATUS: u16 = 201;

    fn status(&self) -> u16 {
        match self {
            Self::New(_) => 201,
            Self::Known(_) => 200,
        }
    }

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        let (Self::New(data) | Self::Known(data)) = self;
        envelope(call, data, None, meta)
    }

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
        let schema = enveloped::<T>(schemas, meta);
        vec![(201, schema.clone()), (200, schema)]
    }
}

impl<T: JsonSchema + Serialize> Reply for Ack<T> {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        let data = Acknowledged { message: self.message, more: &self.more };
        envelope(call, &data, Some(self.message), meta)
    }

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
        let mut schema = enveloped::<Acknowledged<'_, T>>(schemas, meta);
        schema["properties"]["message"] = json!({ "type": "string" });
        vec![(Self::STATUS, schema)]
    }
}

impl<R: Reply, M: JsonSchema + Serialize> Reply for WithMeta<R, M> {
    const STATUS: u16 = R::STATUS;

    fn status(&self) -> u16 {
        self.reply.status()
    }

    fn body(&self, call: &Call, mut meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        if let Value::Object(more) = serde_json::to_value(&self.more)? {
            meta.extend(more);
        }
        self.reply.body(call, meta)
    }

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
        let more = schemas.subschema_for::<M>().to_value();
        R::answers(schemas, Some(meta.map_or(more.clone(), |meta| json!({ "allOf": [meta, more] }))))
    }
}

impl Reply for File {
    const STATUS: u16 = 200;
    const IS_DESCRIBED: bool = false;

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        self.headers
    }

    fn body(&self, _: &Call, _: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        Ok(self.text.into())
    }

    fn answers(_: &mut SchemaGenerator, _: Option<Value>) -> Answers {
        vec![]
    }
}

/// What `meta` holds in every answer.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described; `envelope` writes it")]
struct Meta {
    timestamp: crate::Timestamp,
    request_id: String,
}

/// The schema of what [`envelope`] writes.
fn enveloped<T: JsonSchema>(schemas: &mut SchemaGenerator, more: Option<Value>) -> Value {
    let meta = schemas.subschema_for::<Meta>().to_value();
    json!({
        "type": "object",
        "properties": {
            "success": { "type": "boolean", "const": true },
            "data": schemas.subschema_for::<T>(),
            "meta": more.map_or(meta.clone(), |more| json!({ "allOf": [meta, more] })),
        },
        "required": ["success", "data", "meta"],
    })
}

fn envelope(
    call: &Call,
    data: &impl Serialize,
    message: Option<&str>,
    more: Map<String, Value>,
) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        success: bool,
        data: &'a T,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        meta: Meta<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta<'a> {
        timestamp: crate::Timestamp,
        request_id: &'a str,
        #[serde(flatten)]
        more: Map<String, Value>,
    }
    let meta = Meta { timestamp: call.received_at(), request_id: call.id(), more };
    serde_json::to_vec(&Envelope { success: true, data, message, meta })
}
