//! Sessions and intents: what was written is there, whole, after any end of the daemon.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::common::{event, intent, session};
use seawall_model::{SessionState, Signal, Timestamp};
use seawall_store::{Act, Error, Snapshot, Store, Write};

fn insert(record: &seawall_store::SessionRecord) -> Write {
    Write::InsertSession(Box::new(record.clone()))
}

#[tokio::test]
async fn what_was_written_is_loaded_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Snapshot::default());

    let mut first = session("first");
    let second = session("second");
    let stop = Act::Stop { signal: Signal::TERM, kill_at: Some(Timestamp::from_millis(1_800_000_000_001)) };
    store.write(vec![insert(&first), Write::PutIntent(intent(&first, Act::Create))]).await.unwrap();
    store.write(vec![insert(&second), Write::PutIntent(intent(&second, Act::Start))]).await.unwrap();
    first.state = SessionState::Lost;
    first.handle = None;
    first.exit = None;
    first.reason = None;
    store
        .write(vec![
            Write::UpdateSession(Box::new(first.clone())),
            Write::PutIntent(intent(&first, stop)),
            Write::SettleIntent(second.id.clone()),
        ])
        .await
        .unwrap();
    let expected = Snapshot { sessions: vec![first.clone(), second], intents: vec![intent(&first, stop)] };
    assert_eq!(store.load().await.unwrap(), expected);

    let id = store.id().clone();
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.id(), &id, "the store's id is born once");
    assert_eq!(store.load().await.unwrap(), expected);
    store.close().await;
}

#[tokio::test]
async fn a_deleted_session_takes_its_intent_along_and_frees_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let old = session("web");
    store.write(vec![insert(&old), Write::PutIntent(intent(&old, Act::Remove))]).await.unwrap();
    store.write(vec![Write::DeleteSession(old.id.clone())]).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Snapshot::default());

    // Both are no error when there is nothing to do.
    store.write(vec![Write::DeleteSession(old.id.clone()), Write::SettleIntent(old.id)]).await.unwrap();
    store.write(vec![insert(&session("web"))]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_refused_batch_writes_nothing_and_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let web = session("web");
    store.write(vec![insert(&web)]).await.unwrap();
    let before = store.load().await.unwrap();

    let fresh = session("fresh");
    let same_name = session("web");
    let taken = store.write(vec![insert(&fresh), insert(&same_name)]).await.unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { name, by } if *name == web.name && *by == web.id), "{taken:?}");

    let mut same_id = session("other");
    same_id.id = web.id.clone();
    let taken = store.write(vec![Write::Event(event("lost")), insert(&same_id)]).await.unwrap_err();
    assert!(matches!(&taken, Error::IdTaken(id) if *id == web.id), "{taken:?}");

    let mut renamed = fresh.clone();
    renamed.name = web.name.clone();
    let taken = store.write(vec![insert(&fresh), Write::UpdateSession(Box::new(renamed))]).await.unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { .. }), "{taken:?}");

    for write in [Write::UpdateSession(Box::new(fresh.clone())), Write::PutIntent(intent(&fresh, Act::Create))] {
        let missing = store.write(vec![Write::Event(event("lost")), write]).await.unwrap_err();
        assert!(matches!(&missing, Error::NoSuchSession(id) if *id == fresh.id), "{missing:?}");
    }

    assert_eq!(store.load().await.unwrap(), before);
    assert_eq!(store.events(None, 10).await.unwrap(), []);
    assert_eq!(store.last_event(), 0);
    store.close().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_kept() {
    for (column, value) in
        [("spec", "{"), ("status", "{}"), ("name", "no name"), ("spec", r#"{"backend": "docker", "colour": 1}"#)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let broken = session("broken");
        store.write(vec![insert(&session("sound")), insert(&broken)]).await.unwrap();
        store.close().await;

        let raw = rusqlite::Connection::open(dir.path().join("seawall.db")).unwrap();
        let update = format!("UPDATE sessions SET {column} = ?1 WHERE id = ?2");
        assert_eq!(raw.execute(&update, (value, broken.id.as_str())), Ok(1));
        drop(raw);

        let store = Store::open(dir.path()).await.unwrap();
        let error = store.load().await.unwrap_err();
        assert!(matches!(error, Error::BadRecord { .. }), "{error:?}");
        assert!(error.to_string().contains(broken.id.as_str()), "{error}");
        // It can be mended or removed.
        store.write(vec![Write::UpdateSession(Box::new(broken))]).await.unwrap();
        assert_eq!(store.load().await.unwrap().sessions.len(), 2);
        store.close().await;
    }
}

#[test]
fn a_store_that_is_dropped_with_its_runtime_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let record = session("web");
    for round in 0..5 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(dir.path()).await.unwrap();
            let found = store.load().await.unwrap();
            if round == 0 {
                store.write(vec![insert(&record)]).await.unwrap();
            } else {
                assert_eq!(found.sessions, vec![record.clone()]);
                assert_eq!(store.events(None, 100).await.unwrap().len(), round - 1);
                store.write(vec![Write::Event(event("again"))]).await.unwrap();
            }
        });
        // No close: the runtime is dropped with the store's task in it.
    }
}

const CHILD: &str = "SEAWALL_STORE_TEST_CHILD";

/// Not a test by itself: writes for ever and says what was answered, until it is killed.
#[test]
#[ignore = "the child of a_killed_daemon_loses_nothing_that_was_answered"]
fn killed_child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(std::path::Path::new(&dir)).await.unwrap();
        for number in 0.. {
            let record = session(&format!("session-{number}"));
            store.write(vec![insert(&record), Write::PutIntent(intent(&record, Act::Create))]).await.unwrap();
            println!("written {}", record.id);
        }
    });
}

#[tokio::test]
async fn a_killed_daemon_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sessions::killed_child", "--ignored", "--nocapture"])
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let written = |line: String| line.split_once("written ").map(|(_, id)| id.to_owned());
    let mut answered: Vec<String> = lines.by_ref().filter_map(written).take(20).collect();

    // While it lives, nobody else gets in, and is told who is there.
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(refused, seawall_store::OpenError::Locked { pid, .. } if pid == Some(child.id())), "{refused:?}");

    child.kill().unwrap();
    child.wait().unwrap();
    answered.extend(lines.filter_map(written));

    let store = Store::open(dir.path()).await.unwrap();
    let found = store.load().await.unwrap();
    let ids: Vec<String> = found.sessions.iter().map(|session| session.id.to_string()).collect();
    assert_eq!(ids.get(..answered.len()), Some(&answered[..]));
    assert!(ids.len() <= answered.len() + 1, "only the one that was under way may be there besides");
    assert_eq!(found.intents.len(), found.sessions.len(), "each session came with its intent");
    store.close().await;
}
