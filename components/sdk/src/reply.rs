//! What a handler answers, in the contract's envelope.

use crate::{__private::Response, call::Call};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A successful answer. The type tells the status.
pub trait Reply {
    const STATUS: u16;

    fn body(&self, call: &Call) -> serde_json::Result<Vec<u8>>;
}

/// 200 with `data`.
pub struct Data<T>(pub T);

/// 201 with `data`.
pub struct Created<T>(pub T);

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

impl<T: Serialize> Reply for Data<T> {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None)
    }
}

impl<T: Serialize> Reply for Created<T> {
    const STATUS: u16 = 201;

    fn body(&self, call: &Call) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.0, None)
    }
}

impl Reply for Ack {
    const STATUS: u16 = 200;

    fn body(&self, call: &Call) -> serde_json::Result<Vec<u8>> {
        envelope(call, &self.data, Some(self.message))
    }
}

fn envelope(call: &Call, data: &impl Serialize, message: Option<&str>) -> serde_json::Result<Vec<u8>> {
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
    }
    let meta = Meta { timestamp: call.received_at(), request_id: call.id() };
    serde_json::to_vec(&Envelope { success: true, data, message, meta })
}

pub(crate) fn response(status: u16, body: Vec<u8>) -> Response {
    Response { status, headers: Vec::new(), body }
}
