//! However an index came about, it decides as the oracle does about the same records.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use super::fixture::{Request, World};
use super::oracle::{self, Answer, Identity, Store};
use super::strategies::{history, now, request, world};
use crate::core::decide::{decide, resume};
use crate::core::explain::{Explained, Outcome, Recognition, explain};
use crate::core::index::Index;
use crate::core::record::{Record, Timestamp};
use crate::core::verdict::{Lane, Permit, Verdict};

/// What an index says, in the oracle's words.
fn answer(index: &Index, request: &Request, now: Timestamp) -> Answer {
    answer_of(decide(index, &request.facts(), now))
}

fn answer_of(verdict: Verdict<'_>) -> Answer {
    match verdict {
        Verdict::Deny(denial) => Answer::Deny(denial.reason),
        Verdict::Allow(permit) => allowed(&permit),
        Verdict::Slow(request) => {
            let mut ids: Vec<u64> =
                request.candidates.iter().map(|candidate| candidate.token_id).collect();
            ids.sort_unstable();
            Answer::Slow(ids)
        }
    }
}

fn allowed(permit: &Permit<'_>) -> Answer {
    let Some(token) = permit.token() else { return Answer::Public };
    let (mut permission_sets, mut projects) = (String::new(), String::new());
    permit.write_permission_sets(&mut permission_sets);
    let deferred = permit.write_projects(&mut projects);
    Answer::Allow(Identity {
        token: token.id(),
        account: token.account().id(),
        user: token.user().map(|user| user.id),
        route: permit.route().map(|route| route.position()),
        permission_sets,
        projects: deferred.then_some(projects),
    })
}

/// The index of the first `start` records, with the rest applied in frames of these lengths.
fn in_part(world: &World, history: &[Record], start: usize, lengths: &[usize]) -> Index {
    let base = Store::of(&history[..start]).records();
    let mut index = world.index(&base);
    let mut rest = &history[start..];
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let length = (*lengths.next().unwrap()).min(rest.len());
        let (frame, after) = rest.split_at(length);
        index = index.apply(frame, index.sequence() + 1);
        rest = after;
    }
    index
}

/// The index of the accounts as they once were, with everything put in its place in this order.
fn in_any_order(world: &World, history: &[Record], order: &[Pick]) -> Index {
    let mut records = Store::of(history).records();
    for (position, pick) in order.iter().enumerate().take(records.len()) {
        let other = pick.index(records.len());
        records.swap(position, other);
    }
    let base = Store::of(&history[..3]).records();
    world.index(&base[1..]).apply(&records, 2)
}

/// What can come about while changes are applied.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// So many changes.
    Frame(usize),
    FoldBegins,
    FoldEnds,
    /// The index is built anew from a snapshot.
    Rebase,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (1_usize..5).prop_map(Turn::Frame),
        2 => Just(Turn::FoldBegins),
        2 => Just(Turn::FoldEnds),
        1 => Just(Turn::Rebase),
    ]
}

/// The index of the first `start` records, to which the rest came in these turns.
fn in_turns(world: &World, history: &[Record], start: usize, turns: &[Turn]) -> Index {
    let built = |end: usize| world.index(&Store::of(&history[..end]).records());
    let (mut index, mut end) = (built(start), start);
    let mut folding: Option<(Index, Index)> = None;
    let mut turns = turns.iter().chain([&Turn::FoldBegins, &Turn::Frame(2)]).cycle();
    while let Some(turn) = turns.next().filter(|_| end < history.len()) {
        match turn {
            Turn::Frame(length) => {
                let from = end;
                end = history.len().min(from + length);
                index = index.apply(&history[from..end], index.sequence() + 1);
            }
            Turn::FoldBegins => {
                folding.get_or_insert_with(|| (index.clone(), index.fold().unwrap()));
            }
            Turn::FoldEnds => index = fold_ends(index, folding.take()),
            Turn::Rebase => index = built(end),
        }
    }
    fold_ends(index, folding)
}

/// What was begun before a rebase comes to nothing.
fn fold_ends(index: Index, folding: Option<(Index, Index)>) -> Index {
    let Some((before, folded)) = folding else { return index };
    match index.onto(&folded, &before) {
        Some(next) => {
            assert!(next.overlay_entries() <= index.overlay_entries());
            assert!(next.has_base_of(&folded));
            next
        }
        None => {
            assert!(!index.has_base_of(&before));
            index
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_an_index_decides_as_the_oracle_does(
        world in world(),
        history in history(),
        start in any::<Pick>(),
        lengths in vec(1_usize..9, 1..5),
        order in vec(any::<Pick>(), 30),
        turns in vec(turn(), 0..20),
        requests in vec((request(), now()), 1..40),
    ) {
        let store = Store::of(&history);
        let start = 3 + start.index(history.len() - 3);
        let in_part = in_part(&world, &history, start, &lengths);
        let in_turns = in_turns(&world, &history, start, &turns);
        let in_any_order = in_any_order(&world, &history, &order);
        let indexes = [
            ("at once", world.index(&store.records())),
            ("folded", in_part.fold().unwrap()),
            ("in part", in_part),
            ("in turns, folded", in_turns.fold().unwrap()),
            ("in turns", in_turns),
            ("any order, folded", in_any_order.fold().unwrap()),
            ("in any order", in_any_order),
        ];
        for (request, now) in &requests {
            let expected = oracle::decide(&world, &store, request, *now);
            for (name, index) in &indexes {
                let found = answer(index, request, *now);
                prop_assert_eq!(&found, &expected, "{}: {:?}", name, request);
            }
        }
        for (name, index) in &indexes {
            prop_assert_eq!(index.tokens(), store.tokens.len(), "{}", name);
        }
    }

    #[test]
    fn what_the_slow_lane_recognises_resumes_as_the_oracle_does(
        world in world(),
        history in history(),
        start in any::<Pick>(),
        requests in vec((request(), now()), 1..10),
    ) {
        let store = Store::of(&history);
        let index = in_part(&world, &history, 3 + start.index(history.len() - 3), &[3]);
        for (request, now) in &requests {
            for token in 0..20 {
                let found = resume(&index, &request.facts(), token, Lane::Slow, *now);
                let expected = oracle::resume(&world, &store, request, token, *now);
                prop_assert_eq!(answer_of(found), expected, "token {}: {:?}", token, request);
            }
        }
    }

    #[test]
    fn explain_says_what_decide_does(
        world in world(),
        history in history(),
        requests in vec((request(), now()), 1..40),
    ) {
        let index = world.index(&Store::of(&history).records());
        for (request, now) in &requests {
            let facts = request.facts();
            let explained = explain(&index, &facts, *now, false);
            match (decide(&index, &facts, *now), explained) {
                (Verdict::Allow(permit), Explained::Done(done)) => {
                    prop_assert_eq!(done.verdict, Outcome::Allow);
                    prop_assert_eq!(done.reason, permit.reason().name());
                }
                (Verdict::Deny(denial), Explained::Done(done)) => {
                    prop_assert_eq!(done.verdict, Outcome::Deny);
                    prop_assert_eq!(done.reason, denial.reason.name());
                    prop_assert_eq!(done.status, denial.reason.status(false));
                }
                (Verdict::Slow(asked), Explained::Slow(mut pending)) => {
                    prop_assert_eq!(asked.candidates.len(), pending.request.candidates.len());
                    let token = pending.request.candidates.remove(0).token_id;
                    let resumed = resume(&index, &facts, token, Lane::Slow, *now);
                    let done = pending.recognised(&index, &facts, (token, Recognition::Introspection), *now);
                    let reason = match resumed {
                        Verdict::Allow(permit) => permit.reason(),
                        Verdict::Deny(denial) => denial.reason,
                        Verdict::Slow(_) => panic!("slow twice"),
                    };
                    prop_assert_eq!(done.reason, reason.name());
                }
                (decided, explained) => panic!("{decided:?} but {explained:?}"),
            }
        }
    }
}
