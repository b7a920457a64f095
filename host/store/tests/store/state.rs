//! The map of a backend, against a model and under concurrency.

use std::collections::BTreeMap;

use proptest::prelude::*;
use seawall_store::{Change, Expectation, StateError, StateMap, StateQuota, Store};
use tokio::task::JoinSet;

fn set(key: &str, expect: Expectation, value: &[u8]) -> Change {
    Change { key: key.to_owned(), expect, value: Some(value.to_vec()) }
}

fn delete(key: &str) -> Change {
    Change { key: key.to_owned(), expect: Expectation::Anything, value: None }
}

fn version(map: &StateMap, key: &str) -> Option<u64> {
    map.get(&[key.to_owned()]).unwrap()[0].as_ref().map(|found| found.version)
}

async fn open() -> (tempfile::TempDir, Store, StateMap) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    (dir, store, map)
}

#[tokio::test]
async fn a_conflict_in_a_batch_writes_none_of_it() {
    let (_dir, store, map) = open().await;
    map.commit(vec![set("a", Expectation::Absent, b"1"), set("b", Expectation::Absent, b"1")]).await.unwrap();
    let first = version(&map, "a").unwrap();
    for wrong in [Expectation::Absent, Expectation::Version(first + 1), Expectation::Version(0)] {
        let batch = vec![set("c", Expectation::Absent, b"2"), set("a", wrong, b"2")];
        assert_eq!(map.commit(batch).await, Err(StateError::Conflict("a".to_owned())));
        assert_eq!(version(&map, "c"), None);
    }
    let missing = vec![set("c", Expectation::Version(first), b"2")];
    assert_eq!(map.commit(missing).await, Err(StateError::Conflict("c".to_owned())));
    map.commit(vec![set("a", Expectation::Version(first), b"2"), delete("b"), delete("nothing")]).await.unwrap();
    assert!(version(&map, "a").unwrap() > first);
    assert_eq!(version(&map, "b"), None);
    store.close().await;
}

#[tokio::test]
async fn a_version_never_comes_twice() {
    let (dir, store, map) = open().await;
    let mut last = 0;
    for _ in 0..3 {
        map.commit(vec![set("a", Expectation::Absent, b"1")]).await.unwrap();
        let now = version(&map, "a").unwrap();
        assert!(now > last);
        last = now;
        map.commit(vec![delete("a")]).await.unwrap();
    }
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    map.commit(vec![set("a", Expectation::Absent, b"1")]).await.unwrap();
    assert!(version(&map, "a").unwrap() > last, "not even over a restart");
    store.close().await;
}

#[tokio::test]
async fn keys_follow_the_rules_of_the_interface() {
    let (_dir, store, map) = open().await;
    for bad in ["", "a\nb", "\0", "\u{7f}", &"x".repeat(257), &"ä".repeat(129)] {
        let invalid = map.commit(vec![set("good", Expectation::Anything, b""), set(bad, Expectation::Anything, b"")]);
        assert!(matches!(invalid.await, Err(StateError::Invalid(_))), "{bad:?}");
        assert!(matches!(map.get(&[bad.to_owned()]), Err(StateError::Invalid(_))), "{bad:?}");
    }
    let twice = vec![set("a", Expectation::Anything, b"1"), delete("a")];
    assert!(matches!(map.commit(twice).await, Err(StateError::Invalid(_))));
    assert_eq!(map.scan("", None, 10), Ok(Vec::new()));
    map.commit(vec![set(&"ä".repeat(128), Expectation::Anything, b"")]).await.unwrap();
    map.commit(Vec::new()).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_quota_is_kept_and_what_is_above_a_lowered_one_may_shrink() {
    let (_dir, store, wide) = open().await;
    let quota = StateQuota { bytes: 20, keys: 2 };
    let map = store.state(&"mock".parse().unwrap(), quota).await.unwrap();
    map.commit(vec![set("a", Expectation::Anything, &[0; 10])]).await.unwrap();
    let large = map.commit(vec![set("b", Expectation::Anything, &[0; 9])]).await;
    assert!(matches!(large, Err(StateError::Quota(_))), "{large:?}");
    map.commit(vec![set("b", Expectation::Anything, &[0; 8])]).await.unwrap();
    // Replacing frees what was there.
    map.commit(vec![set("a", Expectation::Anything, &[0; 5]), set("b", Expectation::Anything, &[0; 13])])
        .await
        .unwrap();
    map.commit(vec![set("a", Expectation::Anything, &[]), set("b", Expectation::Anything, &[])]).await.unwrap();
    let third = map.commit(vec![set("c", Expectation::Anything, &[])]).await;
    assert!(matches!(third, Err(StateError::Quota(_))), "{third:?}");
    map.commit(vec![set("c", Expectation::Anything, &[]), delete("a")]).await.unwrap();

    wide.commit(vec![set("d", Expectation::Anything, &[0; 100]), set("e", Expectation::Anything, &[])]).await.unwrap();
    map.commit(vec![set("d", Expectation::Anything, &[0; 50])]).await.unwrap();
    map.commit(vec![delete("e")]).await.unwrap();
    assert!(map.commit(vec![set("d", Expectation::Anything, &[0; 51])]).await.is_err());
    store.close().await;
}

#[tokio::test]
async fn backends_do_not_see_each_other() {
    let (_dir, store, map) = open().await;
    let other = store.state(&"other".parse().unwrap(), StateQuota::default()).await.unwrap();
    map.commit(vec![set("a", Expectation::Absent, b"mine")]).await.unwrap();
    other.commit(vec![set("a", Expectation::Absent, b"theirs")]).await.unwrap();
    other.commit(vec![delete("a")]).await.unwrap();
    assert_eq!(&*map.get(&["a".to_owned()]).unwrap()[0].as_ref().unwrap().value, b"mine");
    assert_eq!(other.scan("", None, 10), Ok(Vec::new()));
    store.close().await;
}

#[tokio::test]
async fn a_scan_is_bounded_and_can_be_continued() {
    let (_dir, store, map) = open().await;
    let keys: Vec<String> = (0..2500).map(|at| format!("k/{at:04}")).collect();
    let mut batch: Vec<Change> = keys.iter().map(|key| set(key, Expectation::Absent, b"")).collect();
    batch.extend(["j", "k", "k0", "l/1"].map(|key| set(key, Expectation::Absent, b"")));
    map.commit(batch).await.unwrap();
    let mut found = Vec::new();
    loop {
        let page = map.scan("k/", found.last().map(String::as_str), usize::MAX).unwrap();
        assert!(page.len() <= 1000);
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|entry| entry.key));
    }
    assert_eq!(found, keys);
    assert_eq!(map.scan("k/", Some("z"), 10), Ok(Vec::new()));
    assert_eq!(map.scan("k/", Some("a"), 1).unwrap()[0].key, "k/0000");
    assert_eq!(map.scan("k/", None, 0), Ok(Vec::new()));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_increments_none_is_lost() {
    let (dir, store, map) = open().await;
    map.commit(vec![set("n", Expectation::Absent, &0_u64.to_le_bytes())]).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        callers.spawn(async move {
            let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
            let mut done = 0;
            while done < 10 {
                let found = map.get(&["n".to_owned()]).unwrap()[0].clone().unwrap();
                let next = u64::from_le_bytes(found.value[..].try_into().unwrap()) + 1;
                match map.commit(vec![set("n", Expectation::Version(found.version), &next.to_le_bytes())]).await {
                    Ok(()) => done += 1,
                    Err(StateError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    callers.join_all().await;
    let n = |map: &StateMap| {
        u64::from_le_bytes(map.get(&["n".to_owned()]).unwrap()[0].as_ref().unwrap().value[..].try_into().unwrap())
    };
    assert_eq!(n(&map), 80);
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    assert_eq!(n(&map), 80);
    store.close().await;
}

#[tokio::test]
async fn commits_on_one_map_share_transactions_and_each_has_a_version_of_its_own() {
    let (dir, store, map) = open().await;
    let before = store.stats();
    let mut callers = JoinSet::new();
    for at in 0..200_u8 {
        let map = map.clone();
        callers.spawn(async move { map.commit(vec![set(&at.to_string(), Expectation::Absent, &[at])]).await });
    }
    callers.join_all().await.into_iter().for_each(|outcome| outcome.unwrap());
    let after = store.stats();
    assert_eq!(after.batches - before.batches, 200);
    assert!(after.commits - before.commits < 100, "{after:?}");
    let entries = map.scan("", None, 1000).unwrap();
    let versions: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.version).collect();
    assert!(versions.into_iter().eq(1..=200));
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    assert_eq!(map.scan("", None, 1000).unwrap(), entries);
    map.commit(vec![set("next", Expectation::Absent, b"")]).await.unwrap();
    assert_eq!(version(&map, "next"), Some(201));
    store.close().await;
}

#[tokio::test]
async fn within_one_transaction_a_commit_is_held_against_those_before_it() {
    let (_dir, store, map) = open().await;
    let quota = StateQuota { keys: 5, ..StateQuota::default() };
    let small = store.state(&"small".parse().unwrap(), quota).await.unwrap();
    let mut callers = JoinSet::new();
    for at in 0..20_u8 {
        let (map, small) = (map.clone(), small.clone());
        callers.spawn(async move {
            let one = map.commit(vec![set("one", Expectation::Absent, &[at])]).await;
            let few = small.commit(vec![set(&at.to_string(), Expectation::Anything, b"")]).await;
            (one, few)
        });
    }
    let outcomes = callers.join_all().await;
    let lost = outcomes.iter().filter(|(one, _)| *one == Err(StateError::Conflict("one".to_owned()))).count();
    let full = outcomes.iter().filter(|(_, few)| matches!(few, Err(StateError::Quota(_)))).count();
    assert_eq!((lost, full), (19, 15), "{outcomes:?}");
    assert_eq!(version(&map, "one"), Some(1));
    assert_eq!(small.scan("", None, 100).unwrap().len(), 5);
    store.close().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_takes_no_commit_on_a_map_with_it() {
    let (dir, store, map) = open().await;
    let mut callers = JoinSet::new();
    for at in 0..20_u8 {
        let (map, store) = (map.clone(), store.clone());
        callers.spawn(async move {
            let nobody = seawall_store::Write::SettleIntent("00000000000000aa".parse().unwrap());
            let intent = seawall_store::Intent {
                session: "00000000000000aa".parse().unwrap(),
                incarnation: 1,
                act: seawall_store::Act::Create,
                since: seawall_model::Timestamp::from_millis(1),
            };
            let refused = store.write(vec![nobody, seawall_store::Write::PutIntent(intent)]);
            let (refused, made) =
                tokio::join!(refused, map.commit(vec![set(&at.to_string(), Expectation::Absent, &[at])]));
            assert!(matches!(refused, Err(seawall_store::Error::NoSuchSession(_))), "{refused:?}");
            made.unwrap();
        });
    }
    callers.join_all().await;
    let entries = map.scan("", None, 1000).unwrap();
    assert_eq!(entries.len(), 20);
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    assert_eq!(map.scan("", None, 1000).unwrap(), entries);
    store.close().await;
}

#[tokio::test]
async fn a_commit_whose_caller_went_away_shows_in_memory_as_on_the_disk() {
    let (_dir, store, map) = open().await;
    for at in 0..50_u8 {
        tokio::select! {
            biased;
            outcome = map.commit(vec![set("a", Expectation::Anything, &[at])]) => outcome.unwrap(),
            () = std::future::ready(()) => {}
        }
    }
    // Its turn comes after all that were queued.
    map.commit(vec![set("b", Expectation::Absent, b"")]).await.unwrap();
    let shown = map.scan("", None, 10).unwrap();
    store.close().await;
    let store = Store::open(_dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), StateQuota::default()).await.unwrap();
    assert_eq!(map.scan("", None, 10).unwrap(), shown);
    store.close().await;
}

/// What is done to the map and to the model.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, Expect, Option<Vec<u8>>)>),
    Reopen,
}

#[derive(Clone, Debug)]
enum Expect {
    Anything,
    Absent,
    /// The version that the key has.
    Current,
    /// One that it does not have.
    Stale,
}

const QUOTA: StateQuota = StateQuota { bytes: 60, keys: 4 };

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop_oneof![3 => Just(Expect::Anything), 2 => Just(Expect::Absent), 2 => Just(Expect::Current), 1 => Just(Expect::Stale)];
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..20));
    let commit = prop::collection::vec((0_u8..6, expect, value), 0..4).prop_map(Step::Commit);
    prop::collection::vec(prop_oneof![12 => commit, 1 => Just(Step::Reopen)], 1..40)
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<String, (Vec<u8>, u64)>,
    /// The highest version that any key ever had.
    highest: u64,
}

impl Model {
    /// `None`: must be refused.
    fn after(&self, changes: &[Change]) -> Option<BTreeMap<String, (Vec<u8>, u64)>> {
        let mut next = self.entries.clone();
        let mut seen = std::collections::BTreeSet::new();
        for change in changes {
            let found = self.entries.get(&change.key);
            let holds = match change.expect {
                Expectation::Anything => true,
                Expectation::Absent => found.is_none(),
                Expectation::Version(version) => found.is_some_and(|(_, found)| *found == version),
            };
            if !holds || !seen.insert(&change.key) {
                return None;
            }
            match &change.value {
                Some(value) => drop(next.insert(change.key.clone(), (value.clone(), 0))),
                None => drop(next.remove(&change.key)),
            }
        }
        let bytes: usize = next.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
        (bytes as u64 <= QUOTA.bytes && next.len() as u64 <= QUOTA.keys).then_some(next)
    }
}

async fn agrees_with_the_model(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let name = "mock".parse().unwrap();
    let mut store = Store::open(dir.path()).await.unwrap();
    let mut map = store.state(&name, QUOTA).await.unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Reopen => {
                store.close().await;
                store = Store::open(dir.path()).await.unwrap();
                map = store.state(&name, QUOTA).await.unwrap();
            }
            Step::Commit(changes) => {
                let changes: Vec<Change> = changes
                    .into_iter()
                    .map(|(key, expect, value)| {
                        let key = format!("key-{key}");
                        let current = model.entries.get(&key).map_or(1, |(_, version)| *version);
                        let expect = match expect {
                            Expect::Anything => Expectation::Anything,
                            Expect::Absent => Expectation::Absent,
                            Expect::Current => Expectation::Version(current),
                            Expect::Stale => Expectation::Version(current + 1),
                        };
                        Change { key, expect, value }
                    })
                    .collect();
                let expected = model.after(&changes);
                let outcome = map.commit(changes.clone()).await;
                prop_assert_eq!(outcome.is_ok(), expected.is_some(), "{:?}", outcome);
                if let Some(mut next) = expected {
                    for change in changes.iter().filter(|change| change.value.is_some()) {
                        let now = version(&map, &change.key).unwrap();
                        prop_assert!(now > model.highest, "versions grow");
                        next.get_mut(&change.key).unwrap().1 = now;
                    }
                    model.highest = next.values().map(|(_, version)| *version).fold(model.highest, u64::max);
                    model.entries = next;
                }
            }
        }
        let shown: BTreeMap<String, (Vec<u8>, u64)> = map
            .scan("", None, usize::MAX)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.key, (entry.value.to_vec(), entry.version)))
            .collect();
        prop_assert_eq!(&shown, &model.entries);
        let keys: Vec<String> = (0..7).map(|key| format!("key-{key}")).collect();
        let got = map.get(&keys).unwrap();
        for (key, found) in keys.iter().zip(got) {
            let found = found.map(|found| (found.value.to_vec(), found.version));
            prop_assert_eq!(found.as_ref(), model.entries.get(key));
        }
    }
    store.close().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_map_does_what_a_plain_map_would(steps in steps()) {
        tokio::runtime::Runtime::new().unwrap().block_on(agrees_with_the_model(steps))?;
    }
}
