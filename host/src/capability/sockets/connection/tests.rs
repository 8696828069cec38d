//! Which frames of a stream a connection gets, whatever happens in whatever order.

use super::*;

fn connection() -> Connection {
    Connection::new("cs", "/ws", [127, 0, 0, 1].into(), 1024, String::new())
}

fn frame(number: Option<u64>) -> Frame {
    let text = number.map_or_else(|| "plain".to_owned(), |number| number.to_string());
    Frame { stream: Some("s".into()), number, ..Frame::text(text) }
}

fn sent(connection: &Connection) -> Vec<String> {
    let texts = std::iter::from_fn(|| connection.next_frame());
    texts.map(|message| message.into_text().expect("text").to_string()).collect()
}

#[test]
fn each_number_goes_out_once_and_a_jump_asks_for_what_is_missing() {
    let connection = connection();
    connection.opened();
    for number in [1, 2, 2, 1, 5, 6] {
        connection.broadcast(&frame(Some(number)));
    }
    assert_eq!(sent(&connection), ["1", "2"]);
    let gap = connection.next_gap().expect("3 to 6 are missing");
    assert_eq!((gap.after, gap.up_to), (2, 6));
    // One that arrives meanwhile belongs to the gap.
    connection.broadcast(&frame(Some(7)));
    for number in 3..=6 {
        connection.send(&frame(Some(number)));
    }
    connection.caught_up(&gap);
    let gap = connection.next_gap().expect("7 is missing");
    assert_eq!((gap.after, gap.up_to), (6, 7));
    connection.send(&frame(Some(7)));
    connection.caught_up(&gap);
    assert!(connection.next_gap().is_none());
    connection.broadcast(&frame(Some(8)));
    assert_eq!(sent(&connection), ["3", "4", "5", "6", "7", "8"]);
}

#[test]
fn what_happens_while_it_opens_leaves_no_hole() {
    let connection = connection();
    connection.broadcast(&frame(Some(11)));
    connection.broadcast(&frame(None));
    assert_eq!(sent(&connection), Vec::<String>::new());
    // The call read a head of 10, and says so at its end.
    connection.set_position("s", 10);
    connection.opened();
    assert_eq!(sent(&connection), ["plain"]);
    let gap = connection.next_gap().expect("11 was heard of");
    assert_eq!((gap.after, gap.up_to), (10, 11));
    // Or it read 11, and there is nothing to do.
    let connection = self::connection();
    connection.broadcast(&frame(Some(11)));
    connection.set_position("s", 11);
    connection.opened();
    assert!(connection.next_gap().is_none());
}

#[test]
fn what_is_broadcast_while_it_joins_comes_after_what_it_is_sent() {
    let connection = connection();
    let connection = Arc::new(connection);
    connection.opened();
    let hold = connection.hold();
    connection.broadcast(&frame(Some(1)));
    connection.broadcast(&frame(None));
    connection.send(&Frame::text("welcome".into()));
    connection.set_position("s", 0);
    assert_eq!(sent(&connection), ["welcome"]);
    assert!(connection.next_gap().is_none());
    drop(hold);
    assert_eq!(sent(&connection), ["plain"]);
    assert!(connection.next_gap().is_some());
}

#[test]
fn a_number_that_does_not_exist_is_asked_for_once() {
    let connection = connection();
    connection.opened();
    connection.catch_up("s", 9);
    let gap = connection.next_gap().expect("up to 9");
    connection.caught_up(&gap);
    assert!(connection.next_gap().is_none());
}

#[test]
fn a_muted_stream_is_silent_until_it_is_taken_back() {
    let connection = connection();
    connection.opened();
    connection.mute("s", true);
    connection.broadcast(&frame(Some(1)));
    connection.broadcast(&frame(None));
    assert_eq!(sent(&connection), Vec::<String>::new());
    assert!(connection.next_gap().is_none());
    connection.set_position("s", 1);
    connection.broadcast(&frame(Some(2)));
    assert_eq!(sent(&connection), ["2"]);
}

#[test]
fn a_client_that_lets_too_much_wait_is_closed() {
    let connection = connection();
    connection.opened();
    for _ in 0..=QUEUE_CAPACITY {
        connection.broadcast(&frame(None));
    }
    assert_eq!(connection.closing().map(|(code, _)| code), Some(TOO_SLOW));
}

/// A connection that has the first of its stream, and whose client takes nothing.
fn deaf() -> Connection {
    let connection = connection();
    connection.opened();
    for number in 1..=QUEUE_CAPACITY as u64 / 2 {
        connection.broadcast(&frame(Some(number)));
    }
    connection
}

#[test]
fn what_a_client_misses_live_counts_as_what_waits_for_it() {
    let connection = deaf();
    let first = QUEUE_CAPACITY as u64 / 2;
    // One was overtaken; the others belong to the gap.
    for number in first + 2..=2 * first + 1 {
        connection.broadcast(&frame(Some(number)));
        assert!(connection.closing().is_none(), "{number}");
    }
    // The component looks what there is, every so often.
    connection.advance("s", 2 * first + 10);
    connection.broadcast(&frame(Some(2 * first + 2)));
    assert_eq!(connection.closing().map(|(code, _)| code), Some(TOO_SLOW));
}

#[test]
fn a_client_that_gets_what_it_misses_may_miss_it_again_and_again() {
    let connection = connection();
    connection.opened();
    connection.broadcast(&frame(Some(1)));
    // What other hosts told was lost for a while: a jump is one frame.
    let mut last = 1;
    for _ in 0..QUEUE_CAPACITY {
        last += 1000;
        connection.broadcast(&frame(Some(last)));
        connection.broadcast(&frame(Some(last + 1)));
        last += 1;
        let gap = connection.next_gap().expect("frames are missing");
        assert_eq!(gap.up_to, last);
        connection.send(&frame(Some(last)));
        connection.caught_up(&gap);
        sent(&connection);
    }
    assert!(connection.closing().is_none());
}

#[test]
fn what_is_replayed_waits_for_the_client_however_much_it_is() {
    // Told by the component.
    let connection = deaf();
    connection.catch_up("s", 100_000);
    for number in 100_001..=101_000 {
        connection.broadcast(&frame(Some(number)));
    }
    assert!(connection.closing().is_none());
    // Of a stream that it did not know of.
    let connection = self::connection();
    connection.opened();
    for number in 2..=1000 {
        connection.broadcast(&frame(Some(number)));
    }
    assert!(connection.closing().is_none());
}
