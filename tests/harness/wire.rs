//! A wire between a host and Postgres that a test can cut.

use super::services::postgres;
use host::embedded::Cluster;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Whole,
    /// Connections are closed, and no new one gets through.
    Cut,
    /// Connections stay, and nothing gets through: as when packets are lost.
    Mute,
}

pub struct Wire {
    port: u16,
    state: watch::Sender<State>,
}

impl Wire {
    pub async fn new() -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (state, seen) = watch::channel(State::Whole);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut down, mut up, mut cut) = (seen.clone(), seen.clone(), seen.clone());
                tokio::spawn(async move {
                    let server = UnixStream::connect(postgres().join(".s.PGSQL.5432")).await.expect("Postgres");
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = pump(from_client, to_server, &mut up) => (),
                        () = pump(from_server, to_client, &mut down) => (),
                        _ = cut.wait_for(|state| *state == State::Cut) => (),
                    }
                });
            }
        });
        Wire { port, state }
    }

    /// The same database, over this wire.
    pub fn url(&self, database_url: &str) -> String {
        let (url, _) = database_url.split_once('?').expect("a URL with the directory of the socket");
        let (_, name) = url.rsplit_once('/').expect("a URL with a database");
        format!("postgres://{}@127.0.0.1:{}/{name}?sslmode=disable", Cluster::USER, self.port)
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &mut watch::Receiver<State>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let _ = state.wait_for(|state| *state != State::Mute).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
