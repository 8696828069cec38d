//! A WebSocket client for the chat, that says what it got when that is not what
//! a test expects.

use super::{Answer, Chat, Host, PATIENCE, User, assert_has_keys};
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

/// The bare connection: read only when it is asked to be.
pub type Line = WebSocketStream<TcpStream>;

/// A connection that is read all the time, as a browser does, so that the host
/// never has to wait for the test.
pub struct Socket {
    sink: SplitSink<Line, Message>,
    heard: mpsc::UnboundedReceiver<Heard>,
    reader: JoinHandle<()>,
    /// Heard, but not yet asked for.
    kept: VecDeque<Value>,
    /// Frames about other sessions than this are passed over.
    only: Option<String>,
    asked: u64,
}

enum Heard {
    Frame(Value),
    Bytes(Vec<u8>),
    /// The close code; `None` when the connection broke without one.
    End(Option<u16>),
}

impl Host {
    /// The error is what was answered in place of an upgrade.
    pub async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<(Line, HeaderMap), Answer> {
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
    ) -> Result<(Line, HeaderMap), Answer> {
        let url = self.url.replace("http://", "ws://") + path;
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name");
            request.headers_mut().append(name, HeaderValue::try_from(*value).expect("a value"));
        }
        match timeout(PATIENCE, client_async(request, stream)).await.expect("an answer in time") {
            Ok((line, response)) => Ok((line, response.headers().clone())),
            Err(Error::Http(response)) => {
                let text = String::from_utf8(response.body().clone().unwrap_or_default()).expect("text");
                let body = serde_json::from_str(&text).unwrap_or(Value::Null);
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                Err(Answer { status, headers, body, text, asked: path.to_owned() })
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
    pub async fn greet(&self, first: Value) -> Socket {
        let mut socket = self.open("/api/cs/ws", &[]).await;
        socket.send("auth", first).await;
        socket
    }

    /// A guest's socket, and what it was told as it connected.
    pub async fn seat(&self, chat: &Chat<'_>) -> (Socket, Value) {
        self.greet(chat.auth()).await.connected().await
    }

    /// A guest's socket that has seen the messages up to this one.
    pub async fn seat_after(&self, chat: &Chat<'_>, seq: u64) -> (Socket, Value) {
        self.greet(super::with(&chat.auth(), json!({ "after_seq": seq }))).await.connected().await
    }

    /// An admin's socket.
    pub async fn desk(&self, admin: &User) -> (Socket, Value) {
        self.greet(json!({ "token": admin.access })).await.connected().await
    }

    /// An admin's socket that has seen of each session the messages up to this
    /// one.
    pub async fn desk_after(&self, admin: &User, after: Value) -> (Socket, Value) {
        self.greet(json!({ "token": admin.access, "after": after })).await.connected().await
    }
}

impl Socket {
    pub fn over(line: Line) -> Socket {
        let (sink, mut stream) = line.split();
        let (sender, heard) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            let mut code = None;
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Text(text) => {
                        let frame = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.to_string()));
                        let _ = sender.send(Heard::Frame(frame));
                    }
                    Message::Binary(bytes) => {
                        let _ = sender.send(Heard::Bytes(bytes.into()));
                    }
                    Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
                    _ => {}
                }
            }
            let _ = sender.send(Heard::End(code));
        });
        Socket { sink, heard, reader, kept: VecDeque::new(), only: None, asked: 0 }
    }

    /// Passes over what is about other sessions.
    pub fn only(mut self, session: &str) -> Socket {
        self.only = Some(session.to_owned());
        self.kept.retain(|frame| concerns(frame, session));
        self
    }

    /// Takes the first frame, which says that the client is let in.
    pub async fn connected(mut self) -> (Socket, Value) {
        let data = self.gets("connected").await;
        (self, data)
    }

    pub async fn send(&mut self, kind: &str, data: Value) {
        self.text(&json!({ "type": kind, "data": data }).to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.put(Message::text(text)).await;
    }

    /// A connection that has ended takes no frames, and that is for the reader
    /// to say.
    pub async fn put(&mut self, message: Message) {
        let _ = timeout(PATIENCE, self.sink.send(message)).await.expect("the host takes it");
    }

    /// Sends a frame with an `id`; returns the one that answers it.
    pub async fn ask(&mut self, kind: &str, data: Value) -> Value {
        self.asked += 1;
        let id = format!("request {}", self.asked);
        self.text(&json!({ "type": kind, "data": data, "id": id }).to_string()).await;
        let mut passed = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["id"] == id {
                passed.into_iter().rev().for_each(|frame| self.kept.push_front(frame));
                return frame;
            }
            passed.push(frame);
        }
    }

    /// Asks, and is refused; the connection stays.
    #[track_caller]
    pub fn refused(&mut self, kind: &str, data: Value, code: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let frame = self.ask(kind, data.clone()).await;
            assert_eq!(error_code(&frame), code, "{kind} {data} was answered {frame}, {caller}");
        }
    }

    /// A message is stored; returns the `message_delivered`.
    pub async fn says(&mut self, data: Value) -> Value {
        let frame = self.ask("send_message", data).await;
        assert_eq!(frame["type"], "message_delivered", "{frame}");
        frame["data"].clone()
    }

    async fn hear(&mut self) -> Heard {
        loop {
            let heard =
                timeout(PATIENCE, self.heard.recv()).await.expect("a frame in time").unwrap_or(Heard::End(None));
            match (&heard, &self.only) {
                (Heard::Frame(frame), Some(session)) if !concerns(frame, session) => {}
                _ => return heard,
            }
        }
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        if let Some(frame) = self.kept.pop_front() {
            return frame;
        }
        match self.hear().await {
            Heard::Frame(frame) => {
                assert!(frame["type"].is_string() && frame["data"].is_object(), "no envelope: {frame}");
                frame
            }
            Heard::Bytes(bytes) => panic!("{} bytes came", bytes.len()),
            Heard::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next text, of a component that does not speak in envelopes.
    pub async fn hears(&mut self) -> String {
        match self.hear().await {
            Heard::Frame(Value::String(text)) => text,
            Heard::Frame(value) => value.to_string(),
            Heard::Bytes(bytes) => panic!("{} bytes came", bytes.len()),
            Heard::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next frame, which is a binary one.
    pub async fn hears_bytes(&mut self) -> Vec<u8> {
        match self.hear().await {
            Heard::Bytes(bytes) => bytes,
            Heard::Frame(frame) => panic!("text came: {frame}"),
            Heard::End(code) => panic!("the connection ended with {code:?}"),
        }
    }

    /// The next frame is of this type; returns its data.
    pub async fn gets(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame["data"].clone()
    }

    /// Everything up to a frame for which this holds.
    pub async fn take(&mut self, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
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
    pub async fn finds(&mut self, kind: &str) -> Value {
        let taken = self.take(|frame| frame["type"] == kind).await;
        taken[taken.len() - 1]["data"].clone()
    }

    /// The numbers of the messages up to this one.
    pub async fn seqs(&mut self, last: u64) -> Vec<u64> {
        seqs(&self.take(|frame| seq(frame) == Some(last)).await)
    }

    /// What comes before the answer to a ping that is sent now.
    pub async fn heard_by_now(&mut self) -> Vec<Value> {
        assert_eq!(self.ask("ping", json!({})).await["type"], "pong");
        self.kept.drain(..).collect()
    }

    /// Nothing has come but what was asked for.
    pub async fn is_silent(&mut self) {
        let heard = self.heard_by_now().await;
        assert!(heard.is_empty(), "{heard:?}");
    }

    /// What came before the end, and the close code.
    pub async fn ends(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames: Vec<_> = self.kept.drain(..).collect();
        loop {
            match self.hear().await {
                Heard::Frame(frame) => frames.push(frame),
                Heard::Bytes(bytes) => frames.push(json!(bytes)),
                Heard::End(code) => return (frames, code),
            }
        }
    }

    /// The end, whatever came before it.
    #[track_caller]
    pub fn closes(&mut self, code: u16) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (frames, ended) = self.ends().await;
            assert_eq!(ended, Some(code), "after {frames:?}, {caller}");
        }
    }

    /// One `error`, and the end.
    #[track_caller]
    pub fn fails(&mut self, error: &str, code: u16) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let (frames, ended) = self.ends().await;
            let codes: Vec<_> = frames.iter().map(error_code).collect();
            assert_eq!((codes, ended), (vec![error.to_owned()], Some(code)), "{frames:?}, {caller}");
        }
    }

    /// The client goes, without a word.
    pub fn vanish(self) {}
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It holds the other half.
        self.reader.abort();
    }
}

/// Whether a frame is about a session, or about none.
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
