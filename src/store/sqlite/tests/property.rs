//! Any sequence of commands, followed by frames of any length, ends as a snapshot of the end.

use proptest::prelude::*;

use super::*;
use crate::core::record::{Action, Category};

/// Accounts, projects and users enough that most commands find what they are about.
pub(super) fn populated() -> Fixture {
    let fixture = Fixture::empty();
    let of = |id| [account(id, Plan::Enterprise), project(id, 0), user(id, 0, Licence::Developer)];
    fixture.store.apply_all(&Actor::operator(), (0..3).flat_map(of).collect());
    fixture
}

pub(super) fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![accounts_and_ids(), tokens(), tokens(),]
}

fn accounts_and_ids() -> impl Strategy<Value = Command> {
    let small = 0..4_u64;
    let plan = prop::sample::select(Plan::ALL.to_vec());
    let licence = prop::sample::select(Licence::ALL.to_vec());
    (0..13, small.clone(), small, plan, licence, any::<bool>()).prop_map(
        |(kind, account_id, id, plan, licence, flag)| {
            let index = if flag { "job_id" } else { "run_id" }.to_owned();
            let cidr = format!("10.{id}.0.0/16").parse().unwrap();
            let action = if flag { Action::Allow } else { Action::Deny };
            let state = if flag { AccountState::Open } else { AccountState::Closed };
            let environment_category = flag.then_some(Category::Other);
            match kind {
                0 => account(account_id, plan),
                1 => Command::SetPlan { id: account_id, plan },
                2 => Command::SetAccountState { id: account_id, state },
                3 | 4 => project(account_id, id),
                5 => Command::RemoveProject { account_id, id },
                6 => user(account_id, id, licence),
                7 if flag => Command::ChangeUser {
                    account_id,
                    id,
                    name: "changed".to_owned(),
                    licence,
                    admin: true,
                },
                7 => Command::RemoveUser { account_id, id },
                8 => Command::AddIpRule { account_id, action, cidr, name: String::new() },
                9 => Command::RemoveIpRule { account_id, cidr },
                10 => Command::EnableIpRules { account_id, enabled: flag },
                11 => Command::SetId {
                    account_id,
                    index,
                    id,
                    project_id: id / 2,
                    environment_category,
                },
                _ => Command::RemoveId { account_id, index, id },
            }
        },
    )
}

fn tokens() -> impl Strategy<Value = Command> {
    let user = prop::option::of(0..4_u64);
    (0..5, 0..4_u64, user, 0..12_u64, any::<bool>()).prop_map(
        |(kind, account, user_id, seed, revoked)| {
            let state = if revoked { TokenState::Revoked } else { TokenState::Active };
            let grants = vec![grant("semantic_layer_only", user_id.filter(|_| revoked))];
            match kind {
                0 => Command::RevokeToken { id: seed },
                1 => Command::RotateToken {
                    id: seed,
                    verifier: digest(seed + 20),
                    created_at: NOW,
                    old_expires_at: NOW,
                    grants: None,
                },
                2 => create(slow_token(account, hash(&seed.to_string(), None))),
                _ => create(NewToken { user_id, state, grants, ..token(account, seed) }),
            }
        },
    )
}

/// Follows as a gate does, by frames of at most `limit`, and takes a snapshot where it must.
fn follow(store: &SqliteStore, cursor: &mut Cursor, held: &mut Contents, limit: usize) {
    let mut imported = false;
    loop {
        match store.changes_after(cursor, limit).unwrap() {
            Changes::Rebase => panic!("the cursor is of this store"),
            Changes::Frame { cursor: next, .. } if next == *cursor => break,
            Changes::Frame { records, cursor: next, bulk } => {
                assert!(records.len() <= 2 * limit, "each with its account");
                records.into_iter().for_each(|record| fold(held, record));
                imported |= bulk != Bulk::Nothing;
                *cursor = next;
            }
        }
    }
    if imported {
        held.clear();
        let add = &mut |record| {
            fold(held, record);
            Ok(())
        };
        *cursor = store.snapshot(add).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn frames_folded_over_a_snapshot_are_the_next_snapshot(
        batches in prop::collection::vec(
            (prop::collection::vec(commands(), 1..20), prop::bool::weighted(0.2), 1..6_usize),
            1..12,
        ),
    ) {
        let fixture = populated();
        let mut cursor = fixture.cursor();
        let mut held = contents(&fixture.store);
        for (commands, bulk, limit) in batches {
            let actor = if bulk { Actor::operator().in_bulk() } else { Actor::operator() };
            fixture.store.apply_all(&actor, commands);
            follow(&fixture.store, &mut cursor, &mut held, limit);
            prop_assert_eq!(&held, &contents(&fixture.store));
        }
    }
}
