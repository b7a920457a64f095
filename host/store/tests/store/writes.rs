//! The writer: groups, failures, and the end.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{event, session};
use seawall_store::{Change, Error, Expectation, JournalConfig, OpenError, StateError, Store, StoreConfig, Write};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

#[tokio::test]
async fn callers_at_the_same_time_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut callers = JoinSet::new();
    for at in 0..200 {
        let store = store.clone();
        callers.spawn(async move {
            store.write(vec![Write::InsertSession(Box::new(session(&format!("session-{at}"))))]).await.unwrap();
        });
    }
    callers.join_all().await;
    let stats = store.stats();
    assert_eq!(stats.batches, 200);
    assert!(stats.commits <= 20, "{stats:?}");
    assert_eq!(store.load().await.unwrap().sessions.len(), 200);
    store.close().await;
}

#[tokio::test]
async fn a_refused_caller_fails_alone_in_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut callers = JoinSet::new();
    for at in 0..20 {
        let store = store.clone();
        // Every second caller wants the same name.
        let name = if at % 2 == 0 { "same".to_owned() } else { format!("own-{at}") };
        callers.spawn(async move {
            let writes = vec![Write::InsertSession(Box::new(session(&name))), Write::Event(event(&name))];
            store.write(writes).await.map_err(|error| (name, error))
        });
    }
    let (written, refused): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((written.len(), refused.len()), (11, 9));
    for refused in refused {
        let (name, error) = refused.unwrap_err();
        assert_eq!(name, "same");
        assert!(matches!(error, Error::NameTaken { .. }), "{error:?}");
    }
    assert_eq!(store.load().await.unwrap().sessions.len(), 11);
    let events = store.events(None, 100).await.unwrap();
    let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=11).collect::<Vec<_>>(), "refused events leave no hole");
    store.close().await;
}

#[tokio::test]
async fn subscribers_see_events_in_the_order_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut subscriber = store.subscribe();
    let mut callers = JoinSet::new();
    for caller in 0..10 {
        let store = store.clone();
        callers.spawn(async move {
            for at in 0..20 {
                store.write(vec![Write::Event(event(&format!("{caller}.{at}")))]).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert_eq!(store.last_event(), 200);
    let journal = store.events(None, 1000).await.unwrap();
    store.close().await;

    let mut seen = Vec::new();
    loop {
        match subscriber.recv().await {
            Ok(event) => seen.push(Arc::unwrap_or_clone(event)),
            Err(RecvError::Closed) => break,
            Err(RecvError::Lagged(missed)) => panic!("missed {missed}"),
        }
    }
    assert_eq!(seen, journal);
    assert!(seen.is_sorted_by(|a, b| a.id < b.id));
    assert!(matches!(store.subscribe().recv().await, Err(RecvError::Closed)), "a closed store has no events to come");
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_much_it_missed_and_finds_it_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let mut subscriber = store.subscribe();
    store.write((0..2000).map(|at| Write::Event(event(&at.to_string()))).collect()).await.unwrap();
    let Err(RecvError::Lagged(missed)) = subscriber.recv().await else { panic!("was not told") };
    let next = subscriber.recv().await.unwrap().id;
    assert_eq!(next, missed + 1);
    assert_eq!(store.events(None, usize::MAX).await.unwrap().len(), 2000);
    store.close().await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_fails_alone_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: Some(512 << 10), ..StoreConfig::default() };
    let store = Store::open_with(dir.path(), config).await.unwrap();
    let mut callers = JoinSet::new();
    for at in 0..10 {
        let store = store.clone();
        let message = if at == 5 { "x".repeat(1 << 20) } else { "small".to_owned() };
        callers.spawn(async move { (at, store.write(vec![Write::Event(event(&message))]).await) });
    }
    for (at, outcome) in callers.join_all().await {
        match outcome {
            Ok(()) => assert_ne!(at, 5),
            Err(error) => assert!(at == 5 && matches!(error, Error::Full(_)), "{at}: {error:?}"),
        }
    }
    // Until nothing fits any more; what was answered stays.
    let mut written = 9;
    let error = loop {
        match store.write(vec![Write::Event(event(&"y".repeat(10_000)))]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full(_)) && error.is_transient(), "{error:?}");
    assert_eq!(store.events(None, usize::MAX).await.unwrap().len(), written);
    assert_eq!(store.last_event(), written as u64);
    store.close().await;

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.events(None, usize::MAX).await.unwrap().len(), written);
    store.write(vec![Write::Event(event("with room again"))]).await.unwrap();
    assert_eq!(store.last_event(), written as u64 + 1);
    store.close().await;
}

/// A small file system of its own, gone when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root, and CI must not skip it");
            eprintln!("SKIPPED: mounting a small file system needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).status().unwrap();
        if !mounted.success() {
            assert!(std::env::var_os("CI").is_none(), "this test mounts a tmpfs, and CI must not skip it");
            eprintln!("SKIPPED: a tmpfs cannot be mounted here");
            return None;
        }
        Some(Self(dir))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_to_every_caller_and_loses_nothing() {
    let Some(disk) = Tmpfs::mount("4m") else { return };
    let store = Store::open(disk.0.path()).await.unwrap();
    let web = session("web");
    store.write(vec![Write::InsertSession(Box::new(web.clone()))]).await.unwrap();

    let ballast = disk.0.path().join("ballast");
    let filled = std::fs::write(&ballast, vec![0; 8 << 20]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let mut callers = JoinSet::new();
    for _ in 0..5 {
        let store = store.clone();
        callers.spawn(async move { store.write(vec![Write::Event(event(&"z".repeat(100_000)))]).await });
    }
    for outcome in callers.join_all().await {
        let error = outcome.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    }
    assert_eq!(store.load().await.unwrap().sessions, std::slice::from_ref(&web), "reading goes on");
    assert_eq!(store.events(None, 10).await.unwrap(), []);
    assert_eq!(store.last_event(), 0);

    std::fs::remove_file(&ballast).unwrap();
    store.write(vec![Write::Event(event("there is room again"))]).await.unwrap();
    store.close().await;
    let store = Store::open(disk.0.path()).await.unwrap();
    assert_eq!(store.load().await.unwrap().sessions, [web]);
    assert_eq!(store.events(None, 10).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_told_when_the_store_is_opened() {
    let Some(disk) = Tmpfs::mount("64k") else { return };
    let full = std::fs::write(disk.0.path().join("ballast"), vec![0; 1 << 20]);
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let refused = Store::open(disk.0.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Full { .. }), "{refused:?}");

    std::fs::remove_file(disk.0.path().join("ballast")).unwrap();
    disk.remount("size=4m");
    Store::open(disk.0.path()).await.unwrap().close().await;
    disk.remount("ro");
    let refused = Store::open(disk.0.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused:?}");
}

#[tokio::test]
async fn closing_writes_what_was_queued_and_refuses_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let state = store.state(&"mock".parse().unwrap(), Default::default()).await.unwrap();
    let mut callers = JoinSet::new();
    for at in 0..50 {
        let store = store.clone();
        callers.spawn(async move { store.write(vec![Write::Event(event(&at.to_string()))]).await });
    }
    // The callers are in the queue before the runtime gets to anything else.
    tokio::task::yield_now().await;
    tokio::join!(store.close(), store.close());
    for outcome in callers.join_all().await {
        outcome.unwrap();
    }
    let closed = store.write(vec![Write::Event(event("late"))]).await.unwrap_err();
    assert!(matches!(closed, Error::Closed), "{closed:?}");
    assert!(matches!(store.load().await, Err(Error::Closed)));
    assert!(matches!(store.events(None, 1).await, Err(Error::Closed)));
    let change = Change { key: "key".to_owned(), expect: Expectation::Anything, value: Some(vec![1]) };
    assert!(matches!(state.commit(vec![change]).await, Err(StateError::Unavailable(_))));
    assert_eq!(state.get(&["key".to_owned()]), Ok(vec![None]));

    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.events(None, 100).await.unwrap().len(), 50);
    store.close().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    for at in 0..50 {
        let write = store.write(vec![Write::Event(event(&at.to_string()))]);
        // Polled once: queued, and then dropped.
        tokio::select! {
            biased;
            outcome = write => outcome.unwrap(),
            () = std::future::ready(()) => {}
        }
        let read = store.load();
        tokio::select! {
            biased;
            found = read => drop(found.unwrap()),
            () = std::future::ready(()) => {}
        }
    }
    store.write(vec![Write::Event(event("last"))]).await.unwrap();
    let events = store.events(None, 100).await.unwrap();
    assert_eq!(events.len(), 51, "what was queued was written, in order");
    assert_eq!(events[50].message, "last");
    store.close().await;
}

/// Some write in their own thread, others queue; half way the store is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_callers_on_many_threads_each_is_written_once_or_told_that_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let map = store.state(&"mock".parse().unwrap(), Default::default()).await.unwrap();
    let mut subscriber = store.subscribe();
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (store, map) = (store.clone(), map.clone());
        callers.spawn(async move {
            let (mut written, mut at) = (Vec::new(), 0_u8);
            loop {
                at = at.wrapping_add(1);
                let message = format!("{caller}.{}", written.len());
                match store.write(vec![Write::Event(event(&message))]).await {
                    Ok(()) => written.push(message),
                    Err(Error::Closed) => break written,
                    Err(error) => panic!("{error}"),
                }
                let change = Change { key: caller.to_string(), expect: Expectation::Anything, value: Some(vec![at]) };
                match map.commit(vec![change]).await {
                    Ok(()) | Err(StateError::Unavailable(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let mut seen = Vec::new();
    loop {
        match subscriber.recv().await {
            Ok(event) => seen.push(Arc::unwrap_or_clone(event)),
            Err(RecvError::Closed) => break,
            Err(RecvError::Lagged(missed)) => panic!("missed {missed}"),
        }
        if seen.len() == 200 {
            store.close().await;
        }
    }
    let mut written = callers.join_all().await.concat();

    let store = Store::open(dir.path()).await.unwrap();
    let journal = store.events(None, usize::MAX).await.unwrap();
    assert_eq!(seen, journal);
    assert!(journal.iter().map(|event| event.id).eq(1..=journal.len() as u64));
    let mut kept: Vec<_> = journal.into_iter().map(|event| event.message).collect();
    kept.sort();
    written.sort();
    assert_eq!(kept, written);
    // Nobody else writes: each caller's batch is a commit.
    let before = store.stats();
    for at in 0..10 {
        store.write(vec![Write::Event(event(&at.to_string()))]).await.unwrap();
    }
    assert_eq!(store.stats().commits - before.commits, 10);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_the_store_works() {
    let began = tokio::time::Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let timer = tokio::spawn(tokio::time::sleep(Duration::from_millis(1)));
    for at in 0..20 {
        store.write(vec![Write::Event(event(&at.to_string()))]).await.unwrap();
        store.load().await.unwrap();
    }
    assert_eq!(tokio::time::Instant::now(), began);
    assert!(!timer.is_finished());
    timer.await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn event_ids_grow_over_pruning_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        StoreConfig { journal: JournalConfig { events: 20, ..JournalConfig::default() }, ..StoreConfig::default() };
    for round in 0..3 {
        let store = Store::open_with(dir.path(), config).await.unwrap();
        assert_eq!(store.last_event(), round * 100);
        for at in 0..100 {
            store.write(vec![Write::Event(event(&at.to_string()))]).await.unwrap();
        }
        let kept = store.events(None, 1000).await.unwrap();
        assert!((20..=22).contains(&kept.len()), "{} events were kept", kept.len());
        assert_eq!(kept.last().unwrap().id, (round + 1) * 100);
        let newest = store.events(Some(kept.last().unwrap().id - 2), 1).await.unwrap();
        assert_eq!(newest.iter().map(|event| event.id).collect::<Vec<_>>(), [(round + 1) * 100 - 1]);
        store.close().await;
    }

    // All of them grow old; no id is used again.
    let config = StoreConfig { journal: JournalConfig { age: Duration::ZERO, ..config.journal }, ..config };
    let store = Store::open_with(dir.path(), config).await.unwrap();
    let mut old = event("old");
    old.at = seawall_model::Timestamp::from_millis(1);
    store.write(vec![Write::Event(old)]).await.unwrap();
    store.write(vec![Write::InsertSession(Box::new(session("web")))]).await.unwrap();
    assert_eq!(store.events(None, 10).await.unwrap(), []);
    assert_eq!(store.last_event(), 301);
    store.close().await;
    let store = Store::open_with(dir.path(), config).await.unwrap();
    assert_eq!(store.last_event(), 301);
    store.close().await;
}
