//! Whole trees: what a session starts ends with it, however it hides.

use rustix::process::Signal as Raw;
use seawall_model::{Key, Signal, State};

use crate::bench::{Bench, alive, ended_with, eventually, has, is_root, number_in, send, shell};

/// A process that left its session, its group and its parent, and ignores what it can.
fn escapee(bench: &Bench) -> (String, std::path::PathBuf) {
    let file = bench.shared().join("escapee");
    let script = format!(
        "setsid sh -c 'trap \"\" TERM HUP INT; (sh -c \"echo \\$\\$ > {}; exec sleep 1000\" > /dev/null 2>&1 &)' &",
        file.display()
    );
    (script, file)
}

#[tokio::test]
async fn what_left_the_session_ends_when_the_first_process_does() {
    let bench = Bench::new();
    let (script, file) = escapee(&bench);
    let key = bench.sh(&format!("{script} while [ ! -s {} ]; do sleep 0.01; done; exit 7", file.display())).await;
    let pid = number_in(&file).await;
    ended_with(&bench.ended(&key).await, Some(7), None);
    assert!(!alive(pid), "when the exit is told nothing is left");
}

#[tokio::test]
async fn signal_9_ends_the_whole_tree() {
    let bench = Bench::new();
    let (script, file) = escapee(&bench);
    let key = bench.sh(&format!("{script} exec sleep 1000")).await;
    let pid = number_in(&file).await;
    bench.process.signal(&key, Signal::KILL).await.unwrap();
    ended_with(&bench.ended(&key).await, None, Some(9));
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_signal_reaches_the_whole_process_group() {
    let bench = Bench::new();
    let dir = bench.shared();
    let script = format!(
        "cd {}; sh -c 'trap \"echo child >> got; exit\" TERM; echo $$ > child; while :; do sleep 0.01; done' & \
         trap 'echo parent >> got; wait; exit 5' TERM; echo $$ > parent; while :; do sleep 0.01; done",
        dir.display()
    );
    let key = bench.sh(&script).await;
    number_in(&dir.join("child")).await;
    number_in(&dir.join("parent")).await;
    bench.process.signal(&key, Signal::TERM).await.unwrap();
    ended_with(&bench.ended(&key).await, Some(5), None);
    let got = std::fs::read_to_string(dir.join("got")).unwrap();
    assert!(got.contains("child") && got.contains("parent"), "{got}");
}

#[tokio::test]
async fn when_the_supervisor_is_killed_nothing_survives_and_nobody_can_say_how_it_ended() {
    if !has("root, for a control group", is_root()) {
        return;
    }
    let bench = Bench::new();
    let (script, file) = escapee(&bench);
    let key = bench.sh(&format!("{script} exec sleep 1000")).await;
    let (escaped, started) = (number_in(&file).await, bench.started(&key));
    send(started.supervisor, Raw::KILL);
    let status = bench.ended(&key).await;
    let exit = status.exit.unwrap();
    assert_eq!(status.state, State::Dead);
    assert!(exit.unknown() && !exit.success(), "{exit:?}");
    assert!(exit.message.unwrap().contains("supervisor"));
    eventually("all of it is gone", || !alive(started.pid) && !alive(escaped)).await;

    // It stays so, and is not begun again.
    assert_eq!(bench.ended(&key).await.state, State::Dead);
    assert!(bench.process.start(&key).await.is_err());
    bench.process.remove(&key, false).await.unwrap();
}

#[tokio::test]
async fn a_session_whose_supervisor_was_killed_is_removed_with_all_that_is_left_of_it() {
    if !has("root, for a control group", is_root()) {
        return;
    }
    let bench = Bench::new();
    let (script, file) = escapee(&bench);
    let key = bench.sh(&format!("{script} exec sleep 1000")).await;
    let (escaped, started) = (number_in(&file).await, bench.started(&key));
    send(started.supervisor, Raw::KILL);
    bench.process.remove(&key, true).await.unwrap();
    assert_eq!(bench.status(&key).await, None);
    eventually("all of it is gone", || !alive(started.pid) && !alive(escaped)).await;
}

#[tokio::test]
async fn a_bomb_of_forks_is_put_out() {
    let bench = Bench::new();
    let mut program = shell("bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done");
    program.processes = Some(60);
    if let Err(error) = bench.process.create(&program).await {
        assert!(!has("a control group that limits tasks", false), "{error}");
        return;
    }
    bench.process.start(&program.key).await.unwrap();
    let groups = groups(&bench, &program.key);
    assert!(!groups.is_empty());
    bench.process.remove(&program.key, true).await.unwrap();
    // One that still has a process in it cannot be removed.
    assert!(!groups.iter().any(|group| group.exists()), "{groups:?}");
}

#[tokio::test]
async fn who_takes_too_much_memory_is_told_apart() {
    let bench = Bench::new();
    let mut program = shell("exec tail /dev/zero");
    program.memory = Some(16 << 20);
    if let Err(error) = bench.process.create(&program).await {
        assert!(!has("a control group that limits memory", false), "{error}");
        return;
    }
    bench.process.start(&program.key).await.unwrap();
    let status = bench.ended(&program.key).await;
    let exit = status.exit.unwrap();
    assert!(exit.oom && !exit.success(), "{exit:?}");
    assert_eq!((status.state, exit.signal), (State::Exited, Some(9)));
}

#[tokio::test]
async fn limits_hold_from_the_first_instruction() {
    let bench = Bench::new();
    let mut program = shell("cat /proc/self/cgroup");
    (program.memory, program.cpu_millis, program.processes) = (Some(64 << 20), Some(500), Some(40));
    if let Err(error) = bench.process.create(&program).await {
        assert!(!has("control groups for every limit", false), "{error}");
        return;
    }
    let text = bench.output(&program).await;
    let own = format!("{}-1", program.key.session);
    let joined = text.lines().filter(|line| line.ends_with(&own)).count();
    assert!(joined >= 1, "{text}");
    if text.lines().any(|line| line.contains(":memory:")) {
        for controller in ["memory", "cpu", "pids"] {
            assert!(
                text.lines().any(|line| line.contains(&format!(":{controller}")) && line.ends_with(&own)),
                "{controller}: {text}"
            );
        }
    }
    // And no group is left when it is over.
    assert!(groups(&bench, &program.key).is_empty());
}

fn groups(bench: &Bench, key: &Key) -> Vec<std::path::PathBuf> {
    let program: seawall_supervisor::record::Program =
        seawall_supervisor::record::read(&bench.run_dir(key).program()).unwrap().unwrap();
    program.cgroup.groups.into_iter().map(|group| group.path).filter(|path| path.exists()).collect()
}
