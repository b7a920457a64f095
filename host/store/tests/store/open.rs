//! Opening a data directory: what is refused, and in which words.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use seawall_store::{Act, OpenError, Store, Write};

use crate::common::{event, intent, session};

/// The database as another tool has it.
fn raw(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("seawall.db")).unwrap()
}

/// A closed store with enough sessions in it for many pages.
async fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let writes = (0..200).map(|at| Write::InsertSession(Box::new(session(&format!("session-{at}")))));
    store.write(writes.collect()).await.unwrap();
    store.close().await;
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_made_is_for_the_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/data");
    let store = Store::open(&dir).await.unwrap();
    assert_eq!(mode(&dir), 0o700);
    store.write(vec![Write::InsertSession(Box::new(session("web")))]).await.unwrap();
    for file in fs::read_dir(&dir).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "seawall.db"], "the write-ahead log went into the database");
}

#[tokio::test]
async fn a_second_daemon_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let alias = other.path().join("alias");
    symlink(dir.path(), &alias).unwrap();
    for path in [dir.path(), &alias] {
        let refused = Store::open(path).await.unwrap_err();
        assert!(matches!(&refused, OpenError::Locked { pid, .. } if *pid == Some(std::process::id())), "{refused:?}");
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    }
    store.close().await;
    Store::open(dir.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bits in [0o777, 0o770, 0o702] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(bits)).unwrap();
        let refused = Store::open(dir.path()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Untrusted { .. }), "{refused:?}");
        assert!(refused.to_string().contains("chmod"), "{refused}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made in it");
}

#[tokio::test]
async fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root, and CI must not skip it");
        eprintln!("SKIPPED: giving a directory to another user needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Untrusted { why, .. } if why.contains("65534")), "{refused:?}");
}

#[tokio::test]
async fn a_file_in_the_place_of_the_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, "mine").unwrap();
    Store::open(&file).await.unwrap_err();
    Store::open(&file.join("below")).await.unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = filled().await;
    raw(dir.path()).execute_batch("PRAGMA user_version = 9").unwrap();
    let before = fs::read(dir.path().join("seawall.db")).unwrap();
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 9, known: 5, .. }), "{refused:?}");
    assert!(fs::read(dir.path().join("seawall.db")).unwrap() == before, "it was not changed");
}

/// In the order in which they were applied.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_first.sql"),
    include_str!("../../migrations/0002_trace.sql"),
    include_str!("../../migrations/0003_requests.sql"),
    include_str!("../../migrations/0004_tokens.sql"),
];

/// Turns the database into what it was after so many migrations, with what it has.
fn make_older(dir: &Path, version: usize) {
    fs::create_dir(dir.join("older")).unwrap();
    let older = raw(&dir.join("older"));
    for migration in &MIGRATIONS[..version] {
        older.execute_batch(migration).unwrap();
    }
    older.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
    older.execute("ATTACH ?1 AS now", [dir.join("seawall.db").to_str().unwrap()]).unwrap();
    let copy = "INSERT INTO meta SELECT * FROM now.meta WHERE key = 'store';
                INSERT INTO sessions SELECT id, name, backend, spec, status, handle FROM now.sessions;
                INSERT INTO intents SELECT id, intent FROM now.sessions WHERE intent IS NOT NULL;
                INSERT INTO events (id, at, kind, session, name, backend, incarnation, message)
                    SELECT id, at, kind, session, name, backend, incarnation, message FROM now.events;
                DETACH now";
    older.execute_batch(copy).unwrap();
    drop(older);
    fs::rename(dir.join("older/seawall.db"), dir.join("seawall.db")).unwrap();
    fs::remove_dir(dir.join("older")).unwrap();
}

#[tokio::test]
async fn a_database_of_an_older_schema_is_brought_up_to_date_and_keeps_what_it_has() {
    // Where the version was kept before it was in `user_version`.
    let earlier = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY); \
                   INSERT INTO _sqlx_migrations VALUES (1); PRAGMA user_version = 0";
    for (version, change) in [(1, ""), (1, earlier), (2, ""), (3, ""), (4, "")] {
        let dir = filled().await;
        let store = Store::open(dir.path()).await.unwrap();
        let web = session("web");
        let writes = vec![
            Write::InsertSession(Box::new(web.clone())),
            Write::PutIntent(intent(&web, Act::Remove)),
            Write::Event(event("kept")),
            Write::Event(event("pruned")),
        ];
        store.write(writes).await.unwrap();
        let before = store.load().await.unwrap();
        store.close().await;
        make_older(dir.path(), version);
        raw(dir.path()).execute_batch(&format!("DELETE FROM events WHERE message = 'pruned'; {change}")).unwrap();

        let store = Store::open(dir.path()).await.unwrap();
        assert_eq!(store.load().await.unwrap(), before, "{version}");
        let event = event("it was brought up to date");
        store.write(vec![Write::Event(event.clone())]).await.unwrap();
        let kept = store.events(None, 10).await.unwrap();
        let ids: Vec<_> = kept.iter().map(|event| (event.id, event.message.as_str())).collect();
        assert_eq!(ids, [(1, "kept"), (3, "it was brought up to date")], "no id is used again");
        assert_eq!((&kept[1].trace_id, &kept[1].actor), (&event.trace_id, &event.actor));
        store.close().await;
        Store::open(dir.path()).await.unwrap().close().await;
        let now = raw(dir.path()).query_row("PRAGMA user_version", (), |row| row.get::<_, i64>(0));
        assert_eq!(now, Ok(5), "{version}");
    }
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    raw(dir.path()).execute_batch("CREATE TABLE photographs (id INTEGER)").unwrap();
    let before = fs::read(dir.path().join("seawall.db")).unwrap();
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused:?}");
    assert!(fs::read(dir.path().join("seawall.db")).unwrap() == before, "it was not changed");
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "").unwrap();
    fs::write(dir.path().join("seawall.db"), "").unwrap();
    Store::open(dir.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_database_is_refused_in_clear_words() {
    let dir = filled().await;
    let path = dir.path().join("seawall.db");
    let sound = fs::read(&path).unwrap();
    assert!(sound.len() > 16 * 4096, "{} bytes are too few for this test", sound.len());

    let mut cases = vec![
        ("no database", b"#!/bin/sh\necho this is no database\n".repeat(300)),
        ("a page of noise in the middle", {
            let mut bytes = sound.clone();
            bytes[8 * 4096..9 * 4096].fill(0xff);
            bytes
        }),
        ("empty", Vec::new()),
    ];
    for length in [1, 50, 99, 4096, sound.len() / 2, sound.len() - 4096, sound.len() - 1] {
        cases.push(("cut short", sound[..length].to_vec()));
    }
    for (what, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let length = bytes.len();
        let Err(refused) = Store::open(dir.path()).await else { panic!("{what}, {length} bytes: was opened") };
        assert!(matches!(refused, OpenError::Damaged { .. }), "{what}, {length} bytes: {refused:?}");
        assert!(refused.to_string().contains("backup"), "{refused}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}, {length} bytes: it was changed");
    }

    fs::remove_file(&path).unwrap();
    let refused = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "a database that vanished: {refused:?}");

    fs::write(&path, &sound).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.load().await.unwrap().sessions.len(), 200, "the backup is as good as before");
    store.close().await;
}
