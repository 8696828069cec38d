//! How far a connection is with each stream.

use super::{Connection, Frame, Inner, QUEUE_CAPACITY, TOO_SLOW};
use crate::capability::bindings::sockets::Gap;


#[derive(Default)]
pub(super) struct Stream {
    /// The last number that was sent, or need not be.
    sent: u64,
    /// The last number that there is, as far as is known.
    wanted: u64,
    /// The stream is in `behind`, or its gap is being filled.
    is_behind: bool,
    /// The client has had everything there was. Until then, however much that is,
    /// frames are read as fast as the client takes them.
    is_live: bool,
    /// Frames that were heard since then and belong to a gap.
    missed: usize,
    is_muted: bool,
}

impl Stream {
    fn settle(&mut self) {
        if self.wanted <= self.sent {
            self.is_live = true;
            self.missed = 0;
        }
    }
}

impl Connection {
    pub fn set_position(&self, stream: &str, number: u64) {
        let mut inner = self.inner();
        let position = inner.streams.entry(stream.to_owned()).or_default();
        position.sent = number;
        position.is_live = false;
        position.settle();
        position.is_muted = false;
        inner.check(stream);
        drop(inner);
        self.wake.notify_one();
    }

    /// There is more than the connection has had, from before it was live.
    pub fn catch_up(&self, stream: &str, number: u64) {
        self.reach(stream, number, false);
    }

    /// The stream has got this far, as should have been heard.
    pub fn advance(&self, stream: &str, number: u64) {
        self.reach(stream, number, true);
    }

    fn reach(&self, stream: &str, number: u64, stays_live: bool) {
        let mut inner = self.inner();
        let position = inner.streams.entry(stream.to_owned()).or_default();
        position.is_live &= stays_live || number <= position.wanted;
        position.wanted = position.wanted.max(number);
        inner.check(stream);
        drop(inner);
        self.wake.notify_one();
    }

    pub fn mute(&self, stream: &str, muted: bool) {
        let mut inner = self.inner();
        inner.streams.entry(stream.to_owned()).or_default().is_muted = muted;
        inner.check(stream);
        drop(inner);
        self.wake.notify_one();
    }

    /// The next stream that has to be caught up with.
    pub fn next_gap(&self) -> Option<Gap> {
        let mut inner = self.inner();
        while let Some(stream) = inner.behind.pop_front() {
            let Some(position) = inner.streams.get_mut(&stream) else { continue };
            if position.is_muted || position.wanted <= position.sent {
                position.is_behind = false;
                continue;
            }
            return Some(Gap { after: position.sent, up_to: position.wanted, stream });
        }
        None
    }

    /// The component has sent what it had for a gap.
    pub fn caught_up(&self, gap: &Gap) {
        let mut inner = self.inner();
        let Some(position) = inner.streams.get_mut(&gap.stream) else { return };
        position.is_behind = false;
        if position.sent == gap.after {
            // There is nothing up to there: what was announced is not.
            position.sent = position.sent.max(gap.up_to);
        }
        position.settle();
        inner.check(&gap.stream);
        drop(inner);
        self.wake.notify_one();
    }

    /// The component failed to fill a gap: it is asked again.
    pub fn not_caught_up(&self, gap: &Gap) {
        let mut inner = self.inner();
        if let Some(position) = inner.streams.get_mut(&gap.stream) {
            position.is_behind = false;
        }
        inner.check(&gap.stream);
    }
}

impl Inner {
    /// Whether a frame goes out now; notes what it says of its stream.
    pub(super) fn admits(&mut self, frame: &Frame, directly: bool) -> bool {
        let keeps = self.holds > 0 && !directly;
        if let Some(stream) = &frame.stream {
            // Only a numbered frame needs a place; what is not muted is the rule.
            if frame.number.is_none() && self.streams.get(stream).is_some_and(|position| position.is_muted) {
                return false;
            }
            if let Some(number) = frame.number {
                return self.admits_number(stream, number, directly);
            }
        }
        if keeps {
            if self.kept.len() >= QUEUE_CAPACITY {
                self.close.get_or_insert((TOO_SLOW, "too much has happened meanwhile".to_owned()));
            } else {
                self.kept.push(frame.clone());
            }
        }
        !keeps
    }

    fn admits_number(&mut self, stream: &str, number: u64, directly: bool) -> bool {
        let (holds, waiting) = (self.holds > 0, self.queue.len());
        let position = self.streams.entry(stream.to_owned()).or_default();
        if !directly {
            // Of a muted stream as well: it may be taken back in this moment.
            position.wanted = position.wanted.max(number);
        }
        if position.is_muted || number <= position.sent {
            return false;
        }
        if directly {
            position.sent = number;
            return true;
        }
        if !holds && !position.is_behind && number == position.sent + 1 {
            position.sent = number;
            position.settle();
            return true;
        }
        // It waits as what is in the queue does, only elsewhere.
        position.missed += 1;
        if position.is_live && waiting + position.missed > QUEUE_CAPACITY {
            self.close.get_or_insert((TOO_SLOW, "the client is too slow".to_owned()));
        }
        self.check(stream);
        false
    }

    /// Puts a stream that is behind on the list.
    pub(super) fn check(&mut self, stream: &str) {
        let Some(position) = self.streams.get_mut(stream) else { return };
        if self.holds == 0 && !position.is_behind && !position.is_muted && position.wanted > position.sent {
            position.is_behind = true;
            self.behind.push_back(stream.to_owned());
        }
    }
}
