//! What a handler answers, in the contract's envelope.

use crate::{__private::Response, call::Call};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A successful answer. The type tells the status.
pub trait Reply {
    const STATUS: u16;

    /// Of this answer, where the type leaves a choice.
    fn status(&self) -> u16 {
        Self::STATUS
    }

    /// `meta`: what goes beside the keys that every answer has.
    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>>;
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

/// An answer with one more key in `meta`.
pub struct WithMeta<R> {
    reply: R,
    key: &'static str,
    value: Value,
}

/// 200 that only says that something is done, in `data.message` and in the
/// top-level `message`.
pub struct Ack {
    message: &'static str,
    data: Map<String, Value>,
}

impl Ack {
    pub fn new(message: &'static str) -> Self {
        Self { message, data: Map::from_iter([("message".to_owned(), message.into())]) }
    }

    /// One more field of `data`.
    pub fn with(mut self, key: &str, value: impl Serialize) -> Self {
        self.data.insert(key.to_owned(), json!(value));
        self
    }
}

impl<T> Data<T> {
    pub fn with_meta(self, key: &'static str, value: impl Serialize) -> WithMeta<Self> {
        WithMeta { reply: self, key, value: json!(value) }
    }
}

impl<T> Created<T> {
    pub fn with_meta(self, key: &'static str, value: impl Serialize) -> WithMeta<Self> {
        WithMeta { reply: self, key, value: json!(value) }
    }
}

impl<T: Serialize> Reply for Data<T> {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None, meta)
    }
}

impl<T: Serialize> Reply for Created<T> {
    const STATUS: u16 = 201;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None, meta)
    }
}

impl<T: Serialize> Reply for Stored<T> {
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
}

impl Reply for Ack {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call, meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.data, Some(self.message), meta)
    }
}

impl<R: Reply> Reply for WithMeta<R> {
    const STATUS: u16 = R::STATUS;

    fn status(&self) -> u16 {
        self.reply.status()
    }

    fn body(&self, call: &Call, mut meta: Map<String, Value>) -> serde_json::Result<Vec<u8>> {
        meta.insert(self.key.to_owned(), self.value.clone());
        self.reply.body(call, meta)
    }
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

pub(crate) fn response(status: u16, body: Vec<u8>) -> Response {
    Response { status, headers: Vec::new(), body }
}
