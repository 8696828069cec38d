//! The WebSocket protocol (RFC 6455) as the host speaks it: byte by byte where
//! that matters, and by the Autobahn test suite.

use crate::harness::{Expect, Host, TIMEOUT, fixture, installed, root, setup};
use std::{fs, process::Command};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Only echoes.
const PLAIN: &str = "/echo/plain";
const LIMIT: usize = 1 << 20;

// First bytes of frames.
const MORE_TEXT: u8 = 0x01;
const LAST: u8 = 0x80;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

async fn host() -> Host {
    let host =
        Host::start(setup().config("\n[components.echo]\nmounts = [\"/echo\"]\ngrants.sockets = [\"echo:*\"]\n"));
    host.deploy("echo", &fs::read(fixture("echo")).expect("the component"), "").await.expect_status(201);
    host
}

/// A connection after its upgrade.
struct Wire(TcpStream);

impl Wire {
    async fn open(host: &Host, path: &str) -> Wire {
        let (line, _) = host.upgrade(path, &[]).await.expect("an upgrade");
        Wire(line.into_inner())
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("written");
    }

    /// All frames up to the end of the connection, which the host has to bring.
    async fn frames_until_end(mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        let read = timeout(TIMEOUT, self.0.read_to_end(&mut bytes)).await;
        read.expect("it ends").expect("and not by a reset");
        let (mut frames, mut bytes) = (Vec::new(), &bytes[..]);
        while let [first, length, rest @ ..] = bytes {
            let (length, rest) = match (length, rest) {
                (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
                (127, _) => panic!("nothing so long was sent"),
                (length, rest) => (usize::from(*length), rest),
            };
            frames.push((*first, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        frames
    }
}

/// A frame of a client, under a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        length @ 0..126 => vec![0x80 | u8::try_from(length).expect("small")],
        length => [&[0xff], &(length as u64).to_be_bytes()[..]].concat(),
    };
    [&[first], &length[..], &[0; 4], payload].concat()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What the host closes with.
fn closed(code: u16) -> (u8, Vec<u8>) {
    (CLOSE, code.to_be_bytes().to_vec())
}

#[tokio::test]
async fn what_comes_before_a_close_is_answered_before_it() {
    let host = host().await;
    let mut wire = Wire::open(&host, PLAIN).await;
    let mut sent = Vec::new();
    for number in 0..100 {
        let text = format!("number {number}");
        sent.extend([frame(TEXT, text.as_bytes()), frame(PING, text.as_bytes())].concat());
    }
    sent.extend(close(3000, b"enough"));
    // Behind a close is nothing.
    sent.extend(frame(TEXT, b"late"));
    wire.write(&sent).await;
    let frames = wire.frames_until_end().await;
    let of = |first: u8| frames.iter().filter(move |frame| frame.0 == first).map(|frame| &frame.1[..]);
    assert!(of(TEXT).eq((0..100).map(|number| format!("number {number}").into_bytes())), "{frames:?}");
    // Of pings that come faster than answers go out, the last is answered.
    assert_eq!(of(PONG).next_back(), Some(&b"number 99"[..]));
    assert_eq!(frames.last(), Some(&(CLOSE, [&3000_u16.to_be_bytes()[..], b"enough"].concat())));
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_or_with_what_is_wrong_with_it() {
    let host = host().await;
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
        let mut wire = Wire::open(&host, PLAIN).await;
        wire.write(&close(code, b"")).await;
        assert_eq!(wire.frames_until_end().await, [closed(code)]);
    }
    let mut wire = Wire::open(&host, PLAIN).await;
    wire.write(&frame(CLOSE, b"")).await;
    assert_eq!(wire.frames_until_end().await, [(CLOSE, Vec::new())]);
    for (bad, code) in [
        // Half a code, a reason that is no text, one that is too long.
        (frame(CLOSE, &[3]), 1002),
        (close(1000, &[0xce, 0xba, 0xe1]), 1007),
        (frame(CLOSE, &[3; 200]), 1002),
    ] {
        let mut wire = Wire::open(&host, PLAIN).await;
        wire.write(&bad).await;
        assert_eq!(wire.frames_until_end().await, [closed(code)], "{bad:?}");
    }
    // Codes that may not be sent.
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let mut wire = Wire::open(&host, PLAIN).await;
        wire.write(&close(code, b"")).await;
        let frames = wire.frames_until_end().await;
        assert!(matches!(&frames[..], [(CLOSE, close)] if close.starts_with(&1002_u16.to_be_bytes())), "{frames:?}");
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_one_and_what_stands_between_them_is_answered_first() {
    let host = host().await;
    let mut wire = Wire::open(&host, PLAIN).await;
    let text = "κόσμε";
    let (ping, none) = ([7; 125], frame(0x00, b""));
    let mut sent = [frame(MORE_TEXT, b""), none.clone()].concat();
    for (number, byte) in text.bytes().enumerate() {
        sent.extend(frame(0x00, &[byte]));
        if number == 3 {
            sent.extend([frame(PING, &ping), frame(PONG, b"nobody asked")].concat());
        }
    }
    sent.extend([frame(LAST, b""), close(1000, b"")].concat());
    wire.write(&sent).await;
    assert_eq!(wire.frames_until_end().await, [(PONG, ping.to_vec()), (TEXT, text.into()), closed(1000)]);
}

#[tokio::test]
async fn what_the_protocol_forbids_ends_the_connection_at_once() {
    let host = host().await;
    let begun = frame(MORE_TEXT, b"begun");
    let mut bad = vec![
        (frame(LAST, b"nothing begun"), 1002),
        ([begun.clone(), frame(TEXT, b"another")].concat(), 1002),
        (frame(0x09, b"a ping in pieces"), 1002),
        (frame(PING, &[0; 126]), 1002),
        (vec![TEXT, 4, b'b', b'a', b'r', b'e'], 1002),
        (frame(TEXT, &[0xed, 0xa0, 0x80]), 1007),
        // Before the text is over.
        (frame(MORE_TEXT, &[b'a', 0xf4, 0x90]), 1007),
        ([begun, frame(0x00, &[0xff])].concat(), 1007),
        // Cut off at the end.
        (frame(TEXT, "€".as_bytes().split_last().expect("bytes").1), 1007),
    ];
    bad.extend([0x10, 0x20, 0x40, 0x70].map(|bits| (frame(TEXT | bits, b"reserved bits"), 1002)));
    bad.extend([0x83, 0x87, 0x8b, 0x8f].map(|kind| (frame(kind, b"a reserved kind"), 1002)));
    for (bytes, code) in bad {
        let mut wire = Wire::open(&host, PLAIN).await;
        wire.write(&[frame(TEXT, b"good"), bytes.clone(), frame(TEXT, b"late")].concat()).await;
        assert_eq!(wire.frames_until_end().await, [(TEXT, b"good".to_vec()), closed(code)], "{bytes:?}");
    }
}

/// The close has to arrive although the client has more to send than anybody reads.
#[tokio::test]
async fn who_sends_too_much_is_told_so_even_while_sending() {
    let host = host().await;
    let pieces = |number, length| (0..number).flat_map(move |_| frame(0x00, &vec![b'x'; length]));
    let whole = frame(BINARY, &vec![b'x'; 16 * LIMIT]);
    let cut = frame(MORE_TEXT, b"").into_iter().chain(pieces(64, LIMIT / 8)).collect();
    for bytes in [whole, cut] {
        let wire = Wire::open(&host, PLAIN).await;
        let (mut read, mut write) = wire.0.into_split();
        let writing = tokio::spawn(async move {
            // To the end, or to that of the connection.
            let _ = write.write_all(&bytes).await;
        });
        let mut answer = Vec::new();
        timeout(TIMEOUT, read.read_to_end(&mut answer)).await.expect("it ends").expect("no reset");
        assert_eq!(answer, [&[CLOSE, 2], &1009_u16.to_be_bytes()[..]].concat());
        writing.abort();
    }
}

#[tokio::test]
async fn a_component_closes_with_codes_that_may_be_sent() {
    let host = host().await;
    let mut socket = host.open("/echo/ws?hello", &[]).await;
    assert_eq!(socket.next_text().await, "opened /echo/ws hello");
    for code in [0, 999, 1005, 1006, 1015, 2000, 5000] {
        socket.send_text(&format!("close {code}")).await;
        assert_eq!(socket.next_text().await, "failed");
    }
    socket.send_text("close 3000").await;
    socket.expect_close(3000).await;
}

/// Some 500 cases in ten seconds. How to run single ones: `tests/autobahn/run`.
#[tokio::test]
async fn the_autobahn_suite_has_no_findings() {
    let host = host().await;
    installed(&["pip3"], "python3-pip");
    let url = host.url.replace("http://", "ws://") + PLAIN;
    let output = Command::new(root().join("tests/autobahn/run")).args(["--url", &url]).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
