//! What the admin saw beside what the guests sent.

use super::{super::crowd::Seen, senders::Lane};
use crate::load;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

#[derive(Default)]
pub struct Verdict {
    pub acknowledged: u64,
    /// Sent, and neither acknowledged nor refused.
    pub unanswered: u64,
    pub refused: Vec<String>,
    /// Acknowledged, and the admin never saw it.
    pub missing: u64,
    /// Seen again, with another number than was acknowledged, or out of order.
    pub wrong: u64,
    /// From sending to the admin's socket, in microseconds.
    pub latencies: Vec<u32>,
    /// From sending to the acknowledgement.
    pub round_trips: Vec<u32>,
    /// The longest time in which the admin saw nothing, while guests were sending.
    pub pause: Duration,
}

impl Verdict {
    pub fn lost(&self) -> u64 {
        self.missing + self.wrong
    }
}

pub fn judge(lanes: &[Lane], seen: &[Seen]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut of_lane: HashMap<&str, Vec<&Seen>> = HashMap::new();
    for message in seen {
        of_lane.entry(message.session.as_str()).or_default().push(message);
    }
    for lane in lanes {
        judge_lane(lane, of_lane.get(lane.session.as_str()).map_or(&[], Vec::as_slice), &mut verdict);
    }
    let last_sent = lanes.iter().filter_map(|lane| lane.sent.last()).map(|sent| sent.at).max();
    verdict.pause = longest_pause(seen.iter().map(|seen| seen.at).take_while(|at| Some(*at) <= last_sent));
    verdict
}

fn judge_lane(lane: &Lane, seen: &[&Seen], verdict: &mut Verdict) {
    // Without a hole and without a repetition, from whichever number on.
    verdict.wrong += seen.windows(2).filter(|pair| pair[1].seq != pair[0].seq + 1).count() as u64;
    let mut by_number: HashMap<usize, &Seen> = HashMap::new();
    for message in seen {
        if let Ok(number) = message.content.parse() {
            by_number.entry(number).or_insert(message);
        }
    }
    let mut answered = lane.refused.len();
    for (number, sent) in lane.sent.iter().enumerate() {
        let Some((seq, _)) = sent.stored else { continue };
        answered += 1;
        verdict.acknowledged += 1;
        match by_number.get(&number) {
            None => verdict.missing += 1,
            Some(seen) => {
                verdict.wrong += u64::from(seen.seq != seq);
                verdict.latencies.push(load::micros(seen.at.saturating_duration_since(sent.at)));
            }
        }
    }
    verdict.unanswered += lane.sent.len().saturating_sub(answered) as u64;
    verdict.round_trips.extend(lane.round_trips());
    verdict.refused.extend(lane.refused.iter().cloned());
}

fn longest_pause(times: impl Iterator<Item = Instant>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut before: Option<Instant> = None;
    for time in times {
        longest = longest.max(before.map_or(Duration::ZERO, |before| time.saturating_duration_since(before)));
        before = Some(time);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::{super::senders::Sent, *};

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Three messages, sent a millisecond apart, stored from number 5 on; what
    /// the admin saw of them is given by index and number, two later each.
    fn judged(stored: &[Option<u64>; 3], seen: &[(usize, u64)]) -> Verdict {
        let start = Instant::now();
        let at = |index: u32| start + MILLISECOND * index;
        let sent =
            (0..3).map(|index| Sent { at: at(index), stored: stored[index as usize].map(|seq| (seq, at(index))) });
        let lane = Lane { session: "a".into(), sent: sent.collect(), refused: Vec::new() };
        let seen: Vec<Seen> = seen
            .iter()
            .map(|(index, seq)| Seen {
                session: "a".into(),
                seq: *seq,
                content: index.to_string(),
                at: at(*index as u32) + MILLISECOND * 2,
            })
            .collect();
        judge(&[lane], &seen)
    }

    #[test]
    fn each_acknowledged_message_is_to_be_seen_once_and_in_order() {
        let all = [Some(5), Some(6), Some(7)];
        for (stored, seen, expected) in [
            (all, vec![(0, 5), (1, 6), (2, 7)], (3, 0, 0, 0)),
            (all, vec![(0, 5), (1, 6)], (3, 0, 1, 0)),
            (all, vec![(0, 5), (1, 6), (1, 6), (2, 7)], (3, 0, 0, 1)),
            (all, vec![(1, 6), (0, 5), (2, 7)], (3, 0, 0, 2)),
            (all, vec![(0, 5), (2, 7)], (3, 0, 1, 1)),
            ([Some(5), None, Some(6)], vec![(0, 5), (2, 6)], (2, 1, 0, 0)),
            ([Some(5), Some(6), None], vec![(0, 5), (1, 6), (2, 7)], (2, 1, 0, 0)),
        ] {
            let found = judged(&stored, &seen);
            assert_eq!((found.acknowledged, found.unanswered, found.missing, found.wrong), expected, "{seen:?}");
        }
        assert_eq!(judged(&all, &[(0, 5), (1, 6), (2, 7)]).latencies, [2_000; 3]);
    }

    #[test]
    fn a_pause_is_between_two_messages() {
        let start = Instant::now();
        let times = |offsets: &[u32]| {
            longest_pause(offsets.iter().map(|offset| start + MILLISECOND * *offset).collect::<Vec<_>>().into_iter())
        };
        assert_eq!(times(&[0, 2, 9, 10]), MILLISECOND * 7);
        assert_eq!(times(&[4]), Duration::ZERO);
    }
}
