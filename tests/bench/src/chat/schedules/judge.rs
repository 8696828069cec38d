//! What must be true of a chat whatever has struck it: no acknowledged message
//! is lost, none is there twice, and all see one order.

use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A message as a client or the database knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub seq: u64,
    pub id: Uuid,
    pub content: String,
}

/// A message whose sender was told that it is stored.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub session: Uuid,
    pub name: Uuid,
    pub seq: u64,
    pub id: Uuid,
}

/// What the database holds of one session, in order of `seq`; with the name that
/// its sender gave it.
pub type Stored = BTreeMap<Uuid, Vec<(Known, Option<Uuid>)>>;

/// What one client saw, over all its connections, as it came.
#[derive(Default)]
pub struct Observer {
    pub name: String,
    pub saw: BTreeMap<Uuid, Vec<Known>>,
}

/// Each line is one violation.
pub fn judge(stored: &Stored, acknowledged: &[Acknowledged], observers: &[Observer]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (session, messages) in stored {
        let numbers: Vec<u64> = messages.iter().map(|(message, _)| message.seq).collect();
        if numbers != (1..=numbers.len() as u64).collect::<Vec<_>>() {
            wrong.push(format!("session {session} has the numbers {numbers:?}"));
        }
        let mut names = BTreeSet::new();
        for name in messages.iter().filter_map(|(_, name)| *name) {
            if !names.insert(name) {
                wrong.push(format!("{name} is stored twice in {session}"));
            }
        }
    }
    for message in acknowledged {
        let of_session = stored.get(&message.session).into_iter().flatten();
        let found: Vec<_> = of_session.filter(|(_, name)| *name == Some(message.name)).collect();
        if !matches!(found[..], [(known, _)] if known.id == message.id && known.seq == message.seq) {
            wrong.push(format!("{message:?} was acknowledged, and stored is {found:?}"));
        }
    }
    for Observer { name, saw } in observers {
        for (session, seen) in saw {
            let there: Vec<&Known> = stored.get(session).into_iter().flatten().map(|(known, _)| known).collect();
            if let Some(index) =
                (0..seen.len().max(there.len())).find(|index| seen.get(*index) != there.get(*index).copied())
            {
                let (seen, there) = (seen.get(index), there.get(index));
                wrong.push(format!("{name} saw {seen:?} of {session} where {there:?} is stored"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Uuid = Uuid::from_u128(1);

    fn known(seq: u64) -> Known {
        Known { seq, id: Uuid::from_u128(100 + u128::from(seq)), content: format!("message {seq}") }
    }

    fn name(seq: u64) -> Uuid {
        Uuid::from_u128(200 + u128::from(seq))
    }

    fn stored(numbers: &[u64]) -> Stored {
        BTreeMap::from([(SESSION, numbers.iter().map(|seq| (known(*seq), Some(name(*seq)))).collect())])
    }

    fn acknowledged(seq: u64) -> Acknowledged {
        Acknowledged { session: SESSION, name: name(seq), seq, id: known(seq).id }
    }

    fn saw(numbers: &[u64]) -> Observer {
        let seen = numbers.iter().map(|seq| known(*seq)).collect();
        Observer { name: "a guest".into(), saw: BTreeMap::from([(SESSION, seen)]) }
    }

    fn violations(stored: &Stored, acknowledged: &[Acknowledged], observers: &[Observer]) -> usize {
        judge(stored, acknowledged, observers).len()
    }

    #[test]
    fn what_is_as_it_should_be_violates_nothing() {
        let all = [acknowledged(1), acknowledged(2)];
        assert_eq!(violations(&stored(&[1, 2]), &all, &[saw(&[1, 2]), saw(&[1, 2])]), 0);
        // Stored, and the word of it was lost on its way to the sender.
        assert_eq!(violations(&stored(&[1, 2]), &all[..1], &[saw(&[1, 2])]), 0);
    }

    #[test]
    fn each_way_to_fail_a_client_is_found() {
        for numbers in [&[1, 3][..], &[1, 2, 2, 3], &[1, 3, 2], &[1, 2], &[2, 3], &[1, 2, 3, 4], &[]] {
            assert_eq!(violations(&stored(&[1, 2, 3]), &[], &[saw(&[1, 2, 3]), saw(numbers)]), 1, "{numbers:?}");
        }
        let mut other = saw(&[1, 2]);
        other.saw.get_mut(&SESSION).expect("it is there")[1].content = "another".into();
        assert_eq!(violations(&stored(&[1, 2]), &[], &[other]), 1);
    }

    #[test]
    fn each_way_to_store_it_wrongly_is_found() {
        assert_eq!(violations(&stored(&[1]), &[acknowledged(2)], &[]), 1, "lost");
        let renumbered = Acknowledged { seq: 1, ..acknowledged(2) };
        assert_eq!(violations(&stored(&[1, 2]), &[renumbered], &[]), 1, "under another number");
        assert_eq!(violations(&stored(&[1, 3]), &[], &[]), 1, "a hole");
        let mut twice = stored(&[1, 2]);
        twice.get_mut(&SESSION).expect("it is there")[1].1 = Some(name(1));
        assert_eq!(violations(&twice, &[], &[]), 1, "twice");
    }
}
