//! A proxy between a client and a server that a test can cut.

use super::services::postgres;
use host::embedded::Cluster;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Connections are closed, and no new one gets through.
    Closed,
    /// Connections stay, and nothing gets through: as when packets are lost.
    Stalled,
}

pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// To Postgres.
    pub async fn new() -> Proxy {
        Proxy::of(async || UnixStream::connect(postgres().join(".s.PGSQL.5432")).await.expect("Postgres")).await
    }

    /// To the server of an `http` URL.
    pub async fn to(url: &str) -> Proxy {
        let address = url.strip_prefix("http://").expect("plain HTTP").to_owned();
        let connect = move || {
            let address = address.clone();
            async move { TcpStream::connect(address).await.expect("the host") }
        };
        Proxy::of(connect).await
    }

    async fn of<C, F, S>(connect: C) -> Proxy
    where
        C: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = S> + Send,
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (state, seen) = watch::channel(State::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut down, mut up, mut cut) = (seen.clone(), seen.clone(), seen.clone());
                let connect = connect.clone();
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = tokio::io::split(connect().await);
                    tokio::select! {
                        () = pump(from_client, to_server, &mut up) => (),
                        () = pump(from_server, to_client, &mut down) => (),
                        _ = cut.wait_for(|state| *state == State::Closed) => (),
                    }
                });
            }
        });
        Proxy { port, state }
    }

    /// The same database, over this proxy.
    pub fn url(&self, database_url: &str) -> String {
        let (url, _) = database_url.split_once('?').expect("a URL with the directory of the socket");
        let (_, name) = url.rsplit_once('/').expect("a URL with a database");
        format!("postgres://{}@127.0.0.1:{}/{name}?sslmode=disable", Cluster::USER, self.port)
    }

    /// The same server over this proxy, as far as the port.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &mut watch::Receiver<State>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let _ = state.wait_for(|state| *state != State::Stalled).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
