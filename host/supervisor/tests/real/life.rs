//! From create to remove.

use rustix::process::Signal as Raw;
use seawall_backend::Error;
use seawall_model::{Health, Key, Signal, State};
use seawall_process::Process;
use seawall_supervisor::record::{self, Stamp};

use crate::bench::{Bench, alive, ended_with, eventually, key, send, shell};

#[tokio::test]
async fn an_exit_is_told_as_it_was() {
    let bench = Bench::new();
    for code in [0, 3, 255] {
        let key = bench.sh(&format!("exit {code}")).await;
        ended_with(&bench.ended(&key).await, Some(code), None);
    }
    let key = bench.sh("kill -USR1 $$; sleep 100").await;
    ended_with(&bench.ended(&key).await, None, Some(10));
}

#[tokio::test]
async fn a_session_is_created_then_runs_then_ends_then_is_gone() {
    let bench = Bench::new();
    let program = shell("exec sleep 1000");
    let created = bench.process.create(&program).await.unwrap();
    assert_eq!((created.state, created.health, created.started_at), (State::Created, Health::Unknown, None));
    assert!(created.created_at.is_some());

    let running = bench.process.start(&program.key).await.unwrap();
    assert_eq!((running.state, running.health), (State::Running, Health::Healthy));
    assert!(running.started_at >= created.created_at);
    assert_eq!(bench.status(&program.key).await, Some(running));

    let error = bench.process.remove(&program.key, false).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    bench.process.signal(&program.key, Signal::TERM).await.unwrap();
    ended_with(&bench.ended(&program.key).await, None, Some(15));

    bench.process.remove(&program.key, false).await.unwrap();
    assert_eq!(bench.status(&program.key).await, None);
    assert!(std::fs::read_dir(bench.scope().runs).unwrap().next().is_none(), "nothing is left of it");
}

#[tokio::test]
async fn everything_can_be_asked_twice() {
    let bench = Bench::new();
    let marks = bench.shared().join("marks");
    let program = shell(&format!("echo x >> {}; exec sleep 1000", marks.display()));
    let first = bench.process.create(&program).await.unwrap();
    assert_eq!(bench.process.create(&program).await.unwrap(), first);

    // At the same time, too.
    let started: Vec<_> = futures_util::future::join_all((0..8).map(|_| bench.process.start(&program.key))).await;
    for status in &started {
        assert_eq!(status.as_ref().unwrap().state, State::Running);
    }
    assert_eq!(bench.process.create(&program).await.unwrap().state, State::Running);
    eventually("it wrote its mark", || std::fs::read(&marks).is_ok_and(|text| !text.is_empty())).await;
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), "x\n", "it was executed once");

    for _ in 0..2 {
        bench.process.signal(&program.key, Signal::KILL).await.unwrap();
    }
    bench.ended(&program.key).await;
    bench.process.signal(&program.key, Signal::TERM).await.unwrap();
    for _ in 0..2 {
        bench.process.remove(&program.key, false).await.unwrap();
    }
    bench.process.signal(&program.key, Signal::TERM).await.unwrap();
}

#[tokio::test]
async fn what_ended_is_not_started_again() {
    let bench = Bench::new();
    let key = bench.sh("exit 0").await;
    bench.ended(&key).await;
    let error = bench.process.start(&key).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");

    let never = self::key();
    assert!(matches!(bench.process.start(&never).await, Err(Error::NotFound(_))));
    assert!(matches!(bench.process.logs(&never, &Default::default()).await, Err(Error::NotFound(_))));
    bench.process.remove(&never, false).await.unwrap();
}

#[tokio::test]
async fn a_restarted_daemon_finds_its_sessions_and_leaves_them_running() {
    let bench = Bench::new();
    let key = bench.sh("exec sleep 1000").await;
    let before = bench.started(&key);
    let status = bench.status(&key).await;

    let again: Process = bench.again();
    let found = again.inspect(std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(found.first().map(|found| found.status.clone()), status);
    assert_eq!(again.start(&key).await.unwrap(), status.unwrap(), "it runs already");
    assert_eq!(bench.started(&key), before);
    again.signal(&key, Signal::KILL).await.unwrap();
    ended_with(&bench.ended(&key).await, None, Some(9));
}

#[tokio::test]
async fn a_start_that_was_cut_off_is_met_by_the_next() {
    let bench = Bench::new();
    let program = shell("exec sleep 1000");
    bench.process.create(&program).await.unwrap();
    for patience in 0..5 {
        // Cut off at some point on its way.
        let start = bench.process.start(&program.key);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(patience), start).await;
    }
    assert_eq!(bench.process.start(&program.key).await.unwrap().state, State::Running);
    let pid = bench.started(&program.key).pid;
    assert!(alive(pid));
    bench.process.remove(&program.key, true).await.unwrap();
    eventually("it is gone", || !alive(pid)).await;
}

#[tokio::test]
async fn a_backend_sees_its_own_sessions_only() {
    let bench = Bench::new();
    let key = bench.sh("exec sleep 1000").await;
    let other = bench.neighbour();
    assert!(other.inspect(std::slice::from_ref(&key)).await.unwrap().is_empty());
    assert!(other.list(None).await.unwrap().workloads.is_empty());
    assert!(matches!(other.start(&key).await, Err(Error::NotFound(_))));
    other.signal(&key, Signal::KILL).await.unwrap();
    other.remove(&key, true).await.unwrap();
    let mut program = shell("exit 0");
    program.key = key.clone();
    assert!(matches!(other.create(&program).await, Err(Error::Conflict { .. })));
    assert_eq!(bench.status(&key).await.unwrap().state, State::Running);
}

#[tokio::test]
async fn a_batch_leaves_out_what_is_not_there() {
    let bench = Bench::new();
    let (one, two) = (bench.sh("exit 1").await, bench.sh("exec sleep 1000").await);
    bench.ended(&one).await;
    let unborn = Key { incarnation: 2, ..one.clone() };
    let found = bench.process.inspect(&[key(), one, unborn, two]).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|found| (found.position, found.status.state)).collect();
    assert_eq!(found, [(1, State::Exited), (3, State::Running)]);
}

#[tokio::test]
async fn a_listing_comes_in_pages_that_miss_nothing() {
    let bench = Bench::new();
    let session = key().session;
    let count = 1005;
    for incarnation in 1..=count {
        // As create makes them, which for a thousand takes long.
        let dir = bench.run_dir(&Key { session: session.clone(), incarnation, handle: None });
        std::fs::create_dir_all(dir.path()).unwrap();
        let (store, backend) = (bench.scope().store.to_string(), bench.scope().backend.to_string());
        let stamp = Stamp { store, backend, session: session.to_string(), incarnation, created_at: 1 };
        record::write(&dir.stamp(), &stamp, false).unwrap();
    }
    let begun = std::time::Instant::now();
    let first = bench.process.list(None).await.unwrap();
    eprintln!("a page of 1000 took {:?}", begun.elapsed());
    assert_eq!(first.workloads.len(), 1000);
    let rest = bench.process.list(first.next.as_deref()).await.unwrap();
    assert_eq!(rest.next, None);
    let numbers = first.workloads.iter().chain(&rest.workloads).map(|workload| workload.incarnation);
    assert!(numbers.eq(1..=count));
    assert!(matches!(bench.process.list(Some("../..")).await, Err(Error::Invalid(_))));
    std::fs::remove_dir_all(bench.scope().runs.join(session.as_str())).unwrap();
}

#[tokio::test]
async fn what_a_crash_of_the_machine_left_of_a_create_is_made_anew() {
    let bench = Bench::new();
    let program = shell("exit 4");
    bench.process.create(&program).await.unwrap();
    std::fs::write(bench.run_dir(&program.key).stamp(), "").unwrap();
    assert_eq!(bench.status(&program.key).await, None);
    bench.run(&program).await;
    ended_with(&bench.ended(&program.key).await, Some(4), None);
}

#[tokio::test]
async fn a_stopped_session_is_ended_by_force() {
    let bench = Bench::new();
    let key = bench.sh("trap '' TERM; echo; while :; do sleep 1000; done").await;
    let pid = bench.started(&key).pid;
    send(pid, Raw::STOP);
    bench.process.signal(&key, Signal::TERM).await.unwrap();
    bench.process.remove(&key, true).await.unwrap();
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_real_time_signal_is_refused_by_name() {
    let bench = Bench::new();
    let key = bench.sh("exec sleep 1000").await;
    let error = bench.process.signal(&key, Signal::from_number(40).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}
