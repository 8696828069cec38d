//! Chat over WebSockets: clients that are deaf, dead, broken or too many, and
//! how little the others notice.

use crate::{
    harness::{Chat, Host, RawSocket, Socket, TIMEOUT, seq, seqs, setup, until},
    sockets::WS,
};
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

fn address(host: &Host) -> SocketAddr {
    host.url.strip_prefix("http://").expect("plain HTTP").parse().expect("an address")
}

fn guest_path(chat: &Chat<'_>) -> String {
    format!("{WS}?session_id={}&token={}", chat.id, chat.token)
}

/// A small window. Not the smallest: once that is full, the kernel of the other
/// side asks for room only every so often, in the end every minute or so.
const WINDOW: u32 = 64 << 10;

/// A guest's connection of which nothing is read but the greeting.
async fn deaf(host: &Host, chat: &Chat<'_>) -> RawSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(WINDOW).expect("a small window");
    let stream = socket.connect(address(host)).await.expect("a connection");
    let (mut line, _) = host.upgrade_over(stream, &guest_path(chat), &[]).await.expect("an upgrade");
    let greeting = line.next().await.expect("a frame").expect("a frame");
    assert!(greeting.to_text().expect("text").contains("connected"), "{greeting}");
    line
}

/// A number of `/proc/PID/status`, in KiB.
fn memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a number");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Connections that the host holds on its public port. The kernel's table is of
/// all processes: an entry without an inode belongs to none any more.
fn connections(host: &Host) -> usize {
    let port = format!(":{:04X}", address(host).port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table");
    let is_ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Local address, state (0A: listens), inode.
        words[1].ends_with(&port) && words[3] != "0A" && words[9] != "0"
    };
    table.lines().skip(1).filter(is_ours).count()
}

/// HTTP connections that the tests' own clients keep alive.
const KEPT_ALIVE: usize = 40;

/// One frame of a client as it lies on the wire, under a mask of zeros.
fn wire(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// How many pings came, and the close code, in what a host wrote.
fn pings_and_close(mut bytes: &[u8]) -> (usize, Option<u16>) {
    let mut pings = 0;
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match (length, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (length, rest) => (usize::from(*length), rest),
        };
        match (first & 0xf, rest) {
            (0x8, [high, low, ..]) => return (pings, Some(u16::from_be_bytes([*high, *low]))),
            (0x9, _) => pings += 1,
            _ => {}
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    (pings, None)
}

// Clients that do not read.

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_shown_out_and_costs_a_bounded_amount() {
    // Who does not read answers no pings either, and is not to be shown out for that.
    let host = Host::start(setup().set("WS_CONNECTION_TIMEOUT", "3600000"));
    let (chat, admin) = (host.chat().await, host.admin().await);
    let (mut healthy, _) = host.connect_guest(&chat).await;
    let mut lines = Vec::new();
    for _ in 0..8 {
        lines.push(deaf(&host, &chat).await);
    }
    // More than the system's buffers and the queue hold together.
    let (last, longest) = (1600, "😀".repeat(1000));
    let sent = AtomicU64::new(0);
    chat.post_as_admin(&admin, "warm up").await;
    let before = memory(&host);
    // Several at once, so that messages overtake each other.
    let writer = async || {
        while sent.fetch_add(1, Ordering::Relaxed) < last - 1 {
            chat.post_as_admin(&admin, &longest).await;
        }
    };
    join_all((0..6).map(|_| writer())).await;
    assert_eq!(healthy.seqs_until(last).await, (1..=last).collect::<Vec<_>>());
    let after = memory(&host);
    assert!(after < before + 96 * 1024, "{before} KiB, and then {after}");
    for line in lines {
        let (frames, code) = Socket::over(line).read_until_close().await;
        let got = seqs(&frames);
        assert_eq!(code, Some(4413), "after {} frames", frames.len());
        assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>(), "no hole before the end");
        assert!(got.len() < 1600);
        let (mut socket, _) = host.connect_guest_after(&chat, got.len() as u64).await;
        assert_eq!(socket.seqs_until(last).await, (got.len() as u64 + 1..=last).collect::<Vec<_>>());
    }
    healthy.expect_silence().await;
}

#[tokio::test]
async fn a_replay_waits_for_a_slow_reader() {
    let host = Host::start(setup().set("WS_CONNECTION_TIMEOUT", "3600000"));
    let chat = host.chat().await;
    chat.fill(3000).await;
    host.run("update cs.messages set message = repeat('x', 1000) where session_id = $1::uuid", &[&chat.id]).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(WINDOW).expect("a small window");
    let stream = socket.connect(address(&host)).await.expect("a connection");
    let (line, _) =
        host.upgrade_over(stream, &format!("{}&after_seq=0", guest_path(&chat)), &[]).await.expect("an upgrade");
    // Nothing is read until somebody else has had all of it.
    let (mut other, _) = host.connect_guest_after(&chat, 0).await;
    other.seqs_until(3000).await;
    let (mut slow, _) = Socket::over(line).connected().await;
    assert_eq!(slow.seqs_until(3000).await, (1..=3000).collect::<Vec<_>>());
    slow.expect_silence().await;
}

// Clients that are not there any more, or only half.

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_noticed_by_its_silence() {
    let silence = Duration::from_secs(5);
    let timeouts = setup().set("WS_HEARTBEAT_INTERVAL", "500");
    let host = Host::start(timeouts.set("WS_CONNECTION_TIMEOUT", silence.as_millis().to_string()));
    let chat = host.chat().await;
    let (mut alive, _) = host.connect_guest(&chat).await;
    let started = Instant::now();
    let dead = async |half: &'static [u8], drip: bool| {
        let mut stream = deaf(&host, &chat).await.into_inner();
        stream.write_all(half).await.expect("written");
        let (mut reader, mut writer) = stream.split();
        let mut bytes = Vec::new();
        let dripping = async {
            while drip && writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = timeout(TIMEOUT, reader.read_to_end(&mut bytes)) => drop(read.expect("it ends")),
            () = dripping => {}
        }
        let (pings, code) = pings_and_close(&bytes);
        assert_eq!(code, Some(4408), "{half:?} {bytes:?}");
        assert!(pings >= 2, "{pings}");
    };
    futures_util::join!(
        dead(b"", false),
        // Frames cut off: after the first byte, in the mask, in the text.
        dead(&[0x81], false),
        dead(&[0x81, 0x8f, 0, 0], false),
        dead(&[0x81, 0x8f, 0, 0, 0, 0, b'{'], false),
        // One that grows for ever, a byte at a time, is none either.
        dead(&[0x81, 0xfe, 0x20, 0x00, 0, 0, 0, 0], true),
    );
    assert!(started.elapsed() >= silence, "{:?}", started.elapsed());
    // Whoever answers pings stays, with no more words of their own than those.
    alive.expect_silence().await;
}

#[tokio::test]
async fn broken_frames_end_their_connection_and_no_other() {
    let host = Host::start(setup());
    let chat = host.chat().await;
    let (mut bystander, _) = host.connect_guest(&chat).await;
    let bad_text = wire(0x81, &[b'{', 0xff, 0xfe, b'}']);
    let cut_character = [wire(0x01, &[0xe2, 0x82]), wire(0x80, &[0x28])].concat();
    let before = connections(&host);
    for (bytes, codes) in [
        (bad_text, [1007, 1007]),
        (cut_character, [1007, 1007]),
        // A reserved kind, a frame without a mask, a fragmented ping, a reserved bit, a lone continuation.
        (wire(0x83, b"x"), [1002, 1002]),
        (vec![0x81, 2, b'{', b'}'], [1002, 1002]),
        (wire(0x09, b"x"), [1002, 1002]),
        (wire(0xc1, b"{}"), [1002, 1002]),
        (wire(0x80, b"{}"), [1002, 1002]),
        // Eight exbibytes are announced.
        (vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], [1009, 1002]),
    ] {
        let (mut line, _) = host.upgrade(&guest_path(&chat), &[]).await.expect("an upgrade");
        line.get_mut().write_all(&bytes).await.expect("written");
        let (frames, code) = Socket::over(line).read_until_close().await;
        assert!(codes.map(Some).contains(&code), "{bytes:?} {code:?} {frames:?}");
    }
    // Characters may be cut between frames of one text.
    let (mut line, _) = host.upgrade(&guest_path(&chat), &[]).await.expect("an upgrade");
    let text = json!({ "type": "send_message", "data": { "content": "€" } }).to_string();
    let cut = text.find('€').expect("there") + 1;
    let pieces = [wire(0x01, &text.as_bytes()[..cut]), wire(0x89, b"between"), wire(0x80, &text.as_bytes()[cut..])];
    line.get_mut().write_all(&pieces.concat()).await.expect("written");
    assert_eq!(Socket::over(line).skip_to("new_message").await["content"], "€");
    // Who goes in the middle of a frame, or of the upgrade, leaves nothing behind.
    for half in [&b"\x81"[..], b"\x81\x8f\0\0\0\0{", b"\x88\x82\0\0"] {
        for _ in 0..30 {
            let (mut line, _) = host.upgrade(&guest_path(&chat), &[]).await.expect("an upgrade");
            line.get_mut().write_all(half).await.expect("written");
        }
    }
    for _ in 0..30 {
        let mut stream = TcpStream::connect(address(&host)).await.expect("a connection");
        stream
            .write_all(format!("GET {WS} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConn").as_bytes())
            .await
            .expect("written");
    }
    until("the connections to be closed", async || (connections(&host) <= before).then_some(())).await;
    assert_eq!(bystander.seqs_until(1).await, [1]);
    bystander.expect_silence().await;
}

// Too many.

/// So many messages get from one client of a chat to another.
async fn exchange(chat: &Chat<'_>, messages: usize) {
    let (mut from, mut to) = (chat.host.connect_guest(chat).await.0, chat.host.connect_guest(chat).await.0);
    for _ in 0..messages {
        let sent = from.send_message(json!({ "content": "Hi" })).await["seq"].as_u64();
        to.take_until(|frame| seq(frame) == sent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_nobody_elses_trouble() {
    let host = Host::start(setup());
    let (chat, other) = (host.chat().await, host.chat().await);
    let stop = CancellationToken::new();
    let ping = json!({ "type": "ping", "data": {} }).to_string();
    // For as long as the others talk, one reads the answers, one does not, and one
    // sends what is none.
    let reading = async {
        let (mut socket, _) = host.connect_guest(&chat).await;
        while !stop.is_cancelled() {
            for _ in 0..1000 {
                socket.send_text(&ping).await;
            }
            for _ in 0..1000 {
                socket.expect_frame("pong").await;
            }
        }
    };
    let deaf = async {
        let mut line = deaf(&host, &chat).await;
        let frame = wire(0x81, ping.as_bytes());
        // It is shown out, or made to wait.
        let flood = async { while line.get_mut().write_all(&frame).await.is_ok() {} };
        tokio::select! {
            () = flood => stop.cancelled().await,
            () = stop.cancelled() => (),
        }
    };
    let pinging = async {
        let (mut socket, _) = host.connect_guest(&chat).await;
        while !stop.is_cancelled() {
            for _ in 0..1000 {
                socket.send_frame(Message::Ping(vec![0; 100].into())).await;
            }
            socket.expect_silence().await;
        }
    };
    let talking = async {
        exchange(&other, 100).await;
        stop.cancel();
    };
    futures_util::join!(reading, deaf, pinging, talking);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_are_held_at_once() {
    let host = Host::start(setup());
    let chats = host.chats(10).await;
    let (before, open) = (memory(&host), connections(&host));
    let opening = stream::iter(0..1000).map(async |number: usize| {
        let chat = &chats[number % 10];
        host.open(&guest_path(chat), &[]).await.connected().await.0
    });
    let mut sockets: Vec<_> = opening.buffered(32).collect().await;
    let each = memory(&host).saturating_sub(before) / 1000;
    assert!(each < 64, "{each} KiB for each");
    assert!(connections(&host) >= 1000);
    for chat in &chats {
        chat.post_as_guest("to a hundred").await;
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(socket.expect_frame("new_message").await["session_id"], chats[number % 10].id);
    }
    let admin = host.admin().await;
    let talking = async {
        for chat in &chats {
            chat.post_as_admin(&admin, "and again").await;
        }
    };
    futures_util::join!(talking, exchange(&chats[0], 10));
    sockets.into_iter().for_each(Socket::disconnect);
    until("the connections to be let go", async || (connections(&host) <= open + KEPT_ALIVE).then_some(())).await;
}
