//! A WebSocket of the chat, over any stream. Its buffers are small, since there
//! are thousands.

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

pub struct Socket<S>(WebSocketStream<S>);

pub enum Heard {
    /// Its type and data are in it.
    Frame(Value),
    /// With the close code, if there was one.
    End(Option<u16>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub async fn open(stream: S) -> Result<Socket<S>> {
        let config = WebSocketConfig::default().read_buffer_size(2 << 10).write_buffer_size(0);
        let (line, _) = client_async_with_config("ws://bench/api/cs/ws", stream, Some(config)).await?;
        Ok(Socket(line))
    }

    pub async fn send(&mut self, kind: &str, data: Value) -> Result<()> {
        Ok(self.0.send(Message::text(json!({ "type": kind, "data": data }).to_string())).await?)
    }

    /// May be given up while it waits.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(Heard::Frame(serde_json::from_str(&text).with_context(|| format!("no frame: {text}"))?));
                }
                Some(Ok(Message::Close(frame))) => return Ok(Heard::End(frame.map(|frame| frame.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Heard::End(None)),
            }
        }
    }
}
