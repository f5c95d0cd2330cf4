//! Nobody hands out more than they hold: against every permission that there is, one by one.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::fixture::{CURRENT, World, account, categories, digest, grant, personal, secret, token};
use crate::core::authority::authority;
use crate::core::index::Index;
use crate::core::permissions::{Family, Level, PermissionSetSpec};
use crate::core::record::{Category, Grant, Licence, Plan, Record, TokenRecord};

/// One that no grant names stands for every project there will be, and for none.
const PROJECTS: [u64; 3] = [10, 11, 999];
const CATEGORIES: [Option<Category>; 5] = [
    None,
    Some(Category::Development),
    Some(Category::Staging),
    Some(Category::Production),
    Some(Category::Other),
];

fn may_give(index: &Index, giver: &TokenRecord, asked: &[Grant]) -> bool {
    let token = index.find_verifier(giver.id, &giver.verifier).unwrap();
    authority(index.policy(), &token, asked).is_ok()
}

fn index_of(world: &World, giver: &TokenRecord, plan: Plan) -> Index {
    let account = Record::Account(crate::core::record::AccountRecord { plan, ..account(1) });
    world.index(&[account, Record::Token(giver.clone())])
}

#[test]
fn the_same_or_less_can_be_given_and_more_cannot() {
    let cases: [(&[Grant], Grant, bool); 13] = [
        (&[grant("job_admin", None)], grant("job_admin", None), true),
        (&[grant("job_admin", None)], grant("job_admin", Some(10)), true),
        (&[grant("job_admin", Some(10))], grant("job_admin", None), false),
        (&[grant("job_admin", Some(10))], grant("job_admin", Some(11)), false),
        (&[grant("job_admin", Some(10))], grant("job_viewer", Some(10)), true),
        (&[grant("job_viewer", None)], grant("job_admin", None), false),
        (&[], grant("job_viewer", None), false),
        (&[grant("account_admin", None)], grant("job_viewer", None), false),
        // The plan does not allow the set: the grant counts for nothing.
        (&[grant("run_starter", None)], grant("run_starter", None), false),
        (&[grant("job_admin", None)], grant("no_such_set", None), false),
        (
            &[categories("analyst", None, &[Category::Staging])],
            categories("analyst", None, &[Category::Staging, Category::Other]),
            false,
        ),
        (
            &[categories("analyst", None, &[Category::All])],
            categories("analyst", Some(11), &[Category::Other]),
            true,
        ),
        (&[grant("analyst", None)], categories("analyst", None, &[Category::All]), false),
    ];
    let world = World::new();
    for (held, asked, expected) in cases {
        let giver = token(1, &secret(1), held);
        let index = index_of(&world, &giver, Plan::Enterprise);
        assert_eq!(
            may_give(&index, &giver, std::slice::from_ref(&asked)),
            expected,
            "{held:?} {asked:?}"
        );
    }
}

#[test]
fn what_is_more_is_said_and_where() {
    let world = World::new();
    let giver = token(1, &secret(1), &[grant("job_viewer", Some(10))]);
    let index = index_of(&world, &giver, Plan::Enterprise);
    let token = index.find_verifier(1, &digest(&secret(1), CURRENT)).unwrap();
    let asked = [grant("job_viewer", Some(10)), grant("job_admin", Some(10))];
    let excess = authority(index.policy(), &token, &asked).unwrap_err();
    assert_eq!(excess.position, 1);
    let expected = "`job_admin` on project 10 gives Jobs:W, Projects:R, Runs:W, which the calling \
                    token does not hold there";
    assert_eq!(excess.to_string(), expected);
}

/// Whether grants give a level on a resource, to a request for that project and category.
fn gives(
    sets: &[PermissionSetSpec],
    grants: &[Grant],
    (resource, level): (&str, Level),
    project: u64,
    category: Option<Category>,
) -> bool {
    grants.iter().any(|grant| {
        let Some(set) = sets.iter().find(|set| set.name == grant.permission_set) else {
            return false;
        };
        let has = |names: &[String]| names.iter().any(|name| name == resource);
        let listed = &grant.writable_environment_categories;
        let writable = category
            .is_some_and(|category| listed.contains(&category) || listed.contains(&Category::All));
        let writes = has(&set.write) || writable && has(&set.environment_write);
        let reads = writes || has(&set.read) || has(&set.environment_write);
        grant.project_id.is_none_or(|on| on == project)
            && if level == Level::Write { writes } else { reads }
    })
}

/// Whether everything that `asked` gives anywhere is given by `held` there, looked at one by one.
fn covers(world: &World, held: &[Grant], licence: Option<Licence>, asked: &[Grant]) -> bool {
    let resources: Vec<&String> = world
        .sets
        .iter()
        .flat_map(|set| set.read.iter().chain(&set.write).chain(&set.environment_write))
        .collect();
    PROJECTS.into_iter().all(|project| {
        CATEGORIES.into_iter().all(|category| {
            resources.iter().all(|resource| {
                [Level::Read, Level::Write].into_iter().all(|level| {
                    let what = (resource.as_str(), level);
                    let within = licence.is_none_or(|licence| match licence {
                        Licence::Developer => true,
                        Licence::ReadOnly => level == Level::Read,
                        Licence::It => *resource == "Account settings",
                    });
                    !gives(&world.sets, asked, what, project, category)
                        || within && gives(&world.sets, held, what, project, category)
                })
            })
        })
    })
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let sets = ["account_admin", "analyst", "job_admin", "job_viewer"];
    let one = (
        select(sets.to_vec()),
        option::of(select(vec![10_u64, 11])),
        subsequence(Category::ALL.to_vec(), 0..=5),
    );
    let one = one.prop_map(|(set, project, writable)| match set {
        "account_admin" => grant(set, None),
        "analyst" => categories(set, project, &writable),
        _ => grant(set, project),
    });
    vec(one, 0..4)
}

proptest! {
    #[test]
    fn nobody_hands_out_what_they_do_not_hold(
        held in grants(),
        asked in grants(),
        licence in option::of(select(Licence::ALL.to_vec())),
    ) {
        let world = World::new();
        assert!(world.sets.iter().any(|set| set.family == Family::Account));
        let service = token(1, &secret(1), &held);
        let giver = match licence {
            Some(licence) => personal(service, 7, licence),
            None => service,
        };
        let index = index_of(&world, &giver, Plan::Enterprise);
        prop_assert_eq!(may_give(&index, &giver, &asked), covers(&world, &held, licence, &asked));
    }
}
