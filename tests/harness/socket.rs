//! A WebSocket client for the chat, that says what it got when that is not what
//! a test expects.

use super::{Answer, Chat, Host, TIMEOUT, User, assert_has_keys};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderMap, HeaderName, HeaderValue},
    },
};

/// A connection that is read only when the test does so.
pub type RawSocket = WebSocketStream<TcpStream>;

/// A connection that is read all the time, as a browser does, so that the host
/// never has to wait for the test.
pub struct Socket {
    sink: SplitSink<RawSocket, Message>,
    received: mpsc::UnboundedReceiver<Received>,
    reader: JoinHandle<()>,
    /// Received, but not yet asked for.
    pending: VecDeque<Value>,
    /// Frames about other sessions than this are passed over.
    only: Option<String>,
    requests: u64,
}

enum Received {
    Frame(Value),
    Bytes(Vec<u8>),
    /// The close code; `None` when the connection broke without one.
    End(Option<u16>),
}

impl Host {
    /// The error is what was answered in place of an upgrade.
    pub async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<(RawSocket, HeaderMap), Answer> {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        self.upgrade_over(stream, path, headers).await
    }

    pub async fn upgrade_over(
        &self,
        stream: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(RawSocket, HeaderMap), Answer> {
        let url = self.url.replace("http://", "ws://") + path;
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name");
            request.headers_mut().append(name, HeaderValue::try_from(*value).expect("a value"));
        }
        match timeout(TIMEOUT, client_async(request, stream)).await.expect("an answer in time") {
            Ok((line, response)) => Ok((line, response.headers().clone())),
            Err(Error::Http(response)) => {
                let text = String::from_utf8(response.body().clone().unwrap_or_default()).expect("text");
                let body = serde_json::from_str(&text).unwrap_or(Value::Null);
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Err(Answer { status, headers, body, text, path: path.to_owned() })
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// A connection, opened with these headers.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Socket {
        match self.upgrade(path, headers).await {
            Ok((line, _)) => Socket::over(line),
            Err(refused) => panic!("{path} was not upgraded: {} {}", refused.status, refused.text),
        }
    }

    /// The same, with a first frame sent.
    pub async fn open_with_auth(&self, first: Value) -> Socket {
        let mut socket = self.open("/api/cs/ws", &[]).await;
        socket.send("auth", first).await;
        socket
    }

    /// A guest's socket, and what it was told as it connected.
    pub async fn connect_guest(&self, chat: &Chat<'_>) -> (Socket, Value) {
        self.open_with_auth(chat.auth()).await.connected().await
    }

    /// A guest's socket that has seen the messages up to this one.
    pub async fn connect_guest_after(&self, chat: &Chat<'_>, seq: u64) -> (Socket, Value) {
        self.open_with_auth(super::with(&chat.auth(), json!({ "after_seq": seq }))).await.connected().await
    }

    /// An admin's socket.
    pub async fn connect_admin(&self, admin: &User) -> (Socket, Value) {
        self.open_with_auth(json!({ "token": admin.access })).await.connected().await
    }

    /// An admin's socket that has seen of each session the messages up to this
    /// one.
    pub async fn connect_admin_after(&self, admin: &User, after: Value) -> (Socket, Value) {
        self.open_with_auth(json!({ "token": admin.access, "after": after })).await.connected().await
    }
}

impl Socket {
    pub fn over(line: RawSocket) -> Socket {
        let (sink, mut stream) = line.split();
        let (sender, received) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            let mut code = None;
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Text(text) => {
                        let frame = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.to_string()));
                        let _ = sender.send(Received::Frame(frame));
                    }
                    Message::Binary(bytes) => {
                        let _ = sender.send(Received::Bytes(bytes.into()));
                    }
                    Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
                    _ => {}
                }
            }
            let _ = sender.send(Received::End(code));
        });
        Socket { sink, received, reader, pending: VecDeque::new(), only: None, requests: 0 }
    }

    /// Passes over what is about other sessions.
    pub fn only(mut self, session: &str) -> Socket {
        self.only = Some(session.to_owned());
        self.pending.retain(|frame| concerns(frame, session));
        self
    }

    /// Takes the first frame, which has to be `connected`; returns its data.
    pub async fn connected(mut self) -> (Socket, Value) {
        let data = self.expect_frame("connected").await;
        (self, data)
    }

    pub async fn send(&mut self, kind: &str, data: Value) {
        self.send_text(&json!({ "type": kind, "data": data }).to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    /// That the connection has ended is no error here: whoever reads next is told.
    pub async fn send_frame(&mut self, message: Message) {
        let _ = timeout(TIMEOUT, self.sink.send(message)).await.expect("the host takes it");
    }

    /// Sends a frame with an `id`; returns the one that answers it.
    pub async fn request(&mut self, kind: &str, data: Value) -> Value {
        self.requests += 1;
        let id = format!("request {}", self.requests);
        self.send_text(&json!({ "type": kind, "data": data, "id": id }).to_string()).await;
        let mut passed = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["id"] == id {
                passed.into_iter().rev().for_each(|frame| self.pending.push_front(frame));
                return frame;
            }
            passed.push(frame);
        }
    }

    /// Sends a frame that is answered with this error; the connection stays open.
    #[track_caller]
    pub fn expect_refusal(&mut self, kind: &str, data: Value, code: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let frame = self.request(kind, data.clone()).await;
            assert_eq!(error_code(&frame), code, "{kind} {data} was answered {frame}, {caller}");
        }
    }

    /// Sends a message, which is stored; returns the data of `message_delivered`.
    pub async fn send_message(&mut self, data: Value) -> Value {
        let frame = self.request("send_message", data).await;
        assert_eq!(frame["type"], "message_delivered", "{frame}");
        frame["data"].clone()
    }

    async fn receive(&mut self) -> Received {
        loop {
            let received =
                timeout(TIMEOUT, self.received.recv()).await.expect("a frame in time").unwrap_or(Received::End(None));
            match (&received, &self.only) {
                (Received::Frame(frame), Some(session)) if !concerns(frame, session) => {}
                _ => return received,
            }
        }
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        if let Some(frame) = self.pending.pop_front() {
            return frame;
        }
        match self.receive().await {
            Received::Frame(frame) => {
                assert!(frame["type"].is_string() && frame["data"].is_object(), "no envelope: {frame}");
                frame
            }
            Received::Bytes(bytes) => panic!("{} bytes came", bytes.len()),
            Received::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next text, of a component that does not speak in envelopes.
    pub async fn next_text(&mut self) -> String {
        match self.receive().await {
            Received::Frame(Value::String(text)) => text,
            Received::Frame(value) => value.to_string(),
            Received::Bytes(bytes) => panic!("{} bytes came", bytes.len()),
            Received::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next frame, which is a binary one.
    pub async fn next_bytes(&mut self) -> Vec<u8> {
        match self.receive().await {
            Received::Bytes(bytes) => bytes,
            Received::Frame(frame) => panic!("text came: {frame}"),
            Received::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next frame is of this type; returns its data.
    pub async fn expect_frame(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame["data"].clone()
    }

    /// Everything up to a frame for which this holds.
    pub async fn take_until(&mut self, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut taken = Vec::new();
        loop {
            taken.push(self.next().await);
            if last(&taken[taken.len() - 1]) {
                return taken;
            }
        }
    }

    /// The first frame of this type; returns its data. Those before it are
    /// passed over.
    pub async fn skip_to(&mut self, kind: &str) -> Value {
        let taken = self.take_until(|frame| frame["type"] == kind).await;
        taken[taken.len() - 1]["data"].clone()
    }

    /// The numbers of the messages up to this one.
    pub async fn seqs_until(&mut self, last: u64) -> Vec<u64> {
        seqs(&self.take_until(|frame| seq(frame) == Some(last)).await)
    }

    /// What comes before the answer to a ping that is sent now.
    pub async fn received_so_far(&mut self) -> Vec<Value> {
        assert_eq!(self.request("ping", json!({})).await["type"], "pong");
        self.pending.drain(..).collect()
    }

    /// No frame has come that the test has not taken yet.
    pub async fn expect_silence(&mut self) {
        let received = self.received_so_far().await;
        assert!(received.is_empty(), "{received:?}");
    }

    /// What came before the end, and the close code.
    pub async fn read_until_close(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames: Vec<_> = self.pending.drain(..).collect();
        loop {
            match self.receive().await {
                Received::Frame(frame) => frames.push(frame),
                Received::Bytes(bytes) => frames.push(json!(bytes)),
                Received::End(code) => return (frames, code),
            }
        }
    }

    /// The connection ends with this code, whatever came before.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (frames, ended) = self.read_until_close().await;
            assert_eq!(ended, Some(code), "after {frames:?}, {caller}");
        }
    }

    /// One `error` frame comes, and then the connection ends with this code.
    #[track_caller]
    pub fn expect_error_and_close(&mut self, error: &str, code: u16) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (frames, ended) = self.read_until_close().await;
            let codes: Vec<_> = frames.iter().map(error_code).collect();
            assert_eq!((codes, ended), (vec![error.to_owned()], Some(code)), "{frames:?}, {caller}");
        }
    }

    /// Drops the connection without a close frame.
    pub fn disconnect(self) {}
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The task holds the other half of the connection.
        self.reader.abort();
    }
}

/// Whether a frame is about this session, or about no session at all.
fn concerns(frame: &Value, session: &str) -> bool {
    let data = &frame["data"];
    let of = [&data["session_id"], &data["session"]["id"]];
    of.iter().find(|of| of.is_string()).is_none_or(|of| **of == session)
}

/// The code of an `error` frame; of any other its type.
#[track_caller]
pub fn error_code(frame: &Value) -> String {
    if frame["type"] != "error" {
        return frame["type"].to_string();
    }
    assert_has_keys(&frame["data"], "code message");
    assert!(frame["data"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{frame}");
    frame["data"]["code"].as_str().expect("a code").to_owned()
}

/// The number of a `new_message`.
pub fn seq(frame: &Value) -> Option<u64> {
    (frame["type"] == "new_message").then(|| frame["data"]["seq"].as_u64().expect("a number"))
}

/// The numbers of all `new_message`s among the frames.
pub fn seqs(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(seq).collect()
}
