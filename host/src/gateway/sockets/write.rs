//! How frames reach the client.
//!
//! tungstenite would copy each into a buffer of the connection, which stays as
//! large as the largest frame was for as long as the connection is open. So what
//! components send is written from where it lies; only the small frames of the
//! protocol go through that buffer.

use bytes::{Buf, Bytes};
use futures_util::SinkExt;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::frame::{
            FrameHeader,
            coding::{Data, OpCode},
        },
    },
};

pub type Socket = WebSocketStream<TcpStream>;

/// Not to be called again on a connection on which it was broken off.
pub async fn write(socket: &mut Socket, message: Message) -> Result<(), Error> {
    let (kind, payload) = match message {
        Message::Text(text) => (Data::Text, Bytes::from(text)),
        Message::Binary(bytes) => (Data::Binary, bytes),
        other => return socket.send(other).await,
    };
    // An answer to a ping may still be on its way.
    socket.flush().await?;
    let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
    let mut head = Vec::new();
    header.format(payload.len() as u64, &mut head)?;
    socket.get_mut().write_all_buf(&mut Bytes::from(head).chain(payload)).await?;
    Ok(())
}
