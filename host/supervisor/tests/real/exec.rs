//! Commands beside a session's program.

use std::io::{Read, Write};
use std::time::Duration;

use futures_util::StreamExt as _;
use seawall_backend::{Error, ExecEvent};
use seawall_model::{AttachOptions, CommandEnd, ExecOptions, Key, Secret};
use seawall_process::{ProcessGrant, Program};
use seawall_supervisor::protocol::{MAX_MESSAGE, Reply, Request};

use crate::bench::{Bench, PATIENCE, alive, eventually, has, is_root, number_in, shell};

fn sh(script: &str) -> ExecOptions {
    ExecOptions { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ExecOptions::default() }
}

async fn run(bench: &Bench, key: &Key, options: &ExecOptions) -> (String, CommandEnd) {
    let execution = bench.process.exec(key, options).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, execution.finish(1 << 20)).await;
    let (output, end) = ended.expect("the command ends").unwrap();
    (String::from_utf8(output).unwrap(), end)
}

#[tokio::test]
async fn a_command_gives_its_output_and_its_code() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let (output, end) = run(&bench, &key, &sh("echo out; echo err >&2; exit 7")).await;
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
    assert_eq!(end, CommandEnd::Code(7));
    assert_eq!(run(&bench, &key, &sh("kill -9 $$")).await.1, CommandEnd::Signal(9));
    assert_eq!(bench.log(&key, Default::default()).await, b"", "the session's log is the program's alone");

    let execution = bench.process.exec(&key, &sh("head -c 3000000 /dev/zero")).await.unwrap();
    let (output, end) = execution.finish(usize::MAX).await.unwrap();
    assert_eq!((output.len(), end), (3_000_000, CommandEnd::Code(0)));
}

#[tokio::test]
async fn a_command_is_in_the_surroundings_of_its_session() {
    let bench = Bench::new();
    let show = "echo $A; pwd; id -u; id -G; ulimit -n; cat /proc/self/cgroup; grep NoNewPrivs /proc/self/status";
    let mut program = shell(&format!("({show}) > before; sleep 1000"));
    program.env = vec![("A".to_owned(), Secret::new("of the session"))];
    program.rlimits = vec![seawall_process::Rlimit { name: "nofile".to_owned(), soft: 77, hard: 99 }];
    bench.run(&program).await;
    let before = bench.run_dir(&program.key).work().join("before");
    eventually("the session has shown itself", || {
        std::fs::read_to_string(&before).is_ok_and(|text| text.contains("NoNewPrivs"))
    })
    .await;
    let (output, end) = run(&bench, &program.key, &sh(show)).await;
    assert_eq!(end, CommandEnd::Code(0));
    assert_eq!(output, std::fs::read_to_string(&before).unwrap());

    let other = ExecOptions {
        env: vec![("A".to_owned(), Secret::new("of the command"))],
        working_dir: Some("/".to_owned()),
        ..sh("echo $A; pwd; readlink /proc/self/fd/0")
    };
    assert_eq!(run(&bench, &program.key, &other).await.0, "of the command\n/\n/dev/null\n");
}

#[tokio::test]
async fn at_its_timeout_a_command_is_killed_with_all_that_it_started() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let dir = bench.shared();
    let script = format!(
        "trap '' TERM; cd {}; echo $$ > own; sleep 1000 & echo $! > child; setsid sleep 1000 & echo $! > away; \
         echo > all; wait",
        dir.display()
    );
    let mut timeout = Duration::from_millis(200);
    // One that is over before all of them were started shows nothing.
    while !dir.join("all").exists() {
        timeout *= 2;
        let options = ExecOptions { timeout: Some(timeout), ..sh(&script) };
        assert_eq!(run(&bench, &key, &options).await.1, CommandEnd::TimedOut);
    }
    for name in ["own", "child", "away"] {
        let pid = number_in(&dir.join(name)).await;
        eventually(&format!("{name} is gone"), || !alive(pid)).await;
    }
    assert!(!bench.status(&key).await.unwrap().state.ended(), "the session goes on");
}

#[tokio::test]
async fn a_command_ends_when_nobody_listens_and_with_its_session() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let dir = bench.shared();
    let script = |name: &str| sh(&format!("echo $$ > {}; echo ready; sleep 1000", dir.join(name).display()));

    let mut dropped = bench.process.exec(&key, &script("dropped")).await.unwrap();
    assert!(matches!(dropped.events.next().await, Some(Ok(ExecEvent::Output(_)))));
    drop(dropped);
    let pid = number_in(&dir.join("dropped")).await;
    eventually("the command that nobody listens to is gone", || !alive(pid)).await;

    let mut cut = bench.process.exec(&key, &script("cut")).await.unwrap();
    assert!(matches!(cut.events.next().await, Some(Ok(ExecEvent::Output(_)))));
    bench.process.signal(&key, seawall_model::Signal::KILL).await.unwrap();
    let end = cut.finish(0).await;
    assert!(!matches!(end, Ok((_, CommandEnd::Code(_)))), "{end:?}");
    bench.ended(&key).await;
    let pid = number_in(&dir.join("cut")).await;
    assert!(!alive(pid), "it outlived its session");
    let error = bench.process.exec(&key, &sh("true")).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn output_that_a_command_leaves_open_does_not_hold_up_its_end() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let (output, end) = run(&bench, &key, &sh("sleep 1000 & echo left")).await;
    assert_eq!((output.as_str(), end), ("left\n", CommandEnd::Code(0)));
}

#[tokio::test]
async fn what_is_not_granted_to_a_session_is_not_granted_to_a_command() {
    let grant = ProcessGrant {
        programs: Some(vec!["/bin/sleep".into(), "/usr/bin/sleep".into()]),
        directories: Some(vec!["/tmp".into()]),
        ..ProcessGrant::default()
    };
    let bench = Bench::with(grant);
    let mut program = Program::new(crate::bench::key(), ["sleep", "1000"].map(str::to_owned).to_vec());
    program.working_dir = Some("/tmp".to_owned());
    bench.run(&program).await;
    let sleep = ExecOptions { command: vec!["sleep".to_owned(), "0".to_owned()], ..ExecOptions::default() };
    assert_eq!(run(&bench, &program.key, &sleep).await.1, CommandEnd::Code(0));

    let refused = async |options: ExecOptions| bench.process.exec(&program.key, &options).await.unwrap_err();
    assert!(matches!(refused(sh("true")).await, Error::Denied(_)));
    let away = ExecOptions { working_dir: Some("/etc".to_owned()), ..sleep.clone() };
    assert!(matches!(refused(away).await, Error::Denied(_)));
    let root = ExecOptions { user: Some("root".to_owned()), ..sleep.clone() };
    if has("root", is_root()) {
        assert!(matches!(refused(root).await, Error::Denied(_)));
    }
    for (options, field) in [
        (ExecOptions::default(), "command"),
        (ExecOptions { command: vec!["no-such-program".to_owned()], ..ExecOptions::default() }, "command"),
        (ExecOptions { env: vec![("A=".to_owned(), Secret::new(""))], ..sleep.clone() }, "env.A="),
        (ExecOptions { env: vec![("A".to_owned(), Secret::new("x".repeat(MAX_MESSAGE)))], ..sleep.clone() }, "command"),
        (ExecOptions { user: Some("nobody-of-that-name".to_owned()), ..sleep.clone() }, "user"),
    ] {
        match refused(options).await {
            Error::Invalid(invalid) => assert_eq!(invalid.problems[0].field, field),
            other => panic!("{field}: {other}"),
        }
    }
    let neighbour = bench.neighbour();
    assert!(matches!(neighbour.exec(&program.key, &sleep).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn an_older_supervisor_is_told_from_one_that_cannot() {
    let bench = Bench::new();
    let program = seawall_process::Program { stdin: true, ..crate::bench::shell("sleep 1000") };
    bench.run(&program).await;
    let key = program.key;
    // What stands there answers as a supervisor that has never heard of commands, terminals or input.
    let dir = bench.run_dir(&key);
    std::fs::rename(dir.ctl(), dir.path().join("ctl.real")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.ctl()).unwrap();
    let older = std::thread::spawn(move || {
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut piece, mut asked) = (Vec::new(), [0; 4096], 0);
            while asked < 2 {
                let length = stream.read(&mut piece).unwrap();
                buffer.extend_from_slice(&piece[..length]);
                while let Some(request) = Request::decode(&mut buffer) {
                    asked += 1;
                    let reply = match request.unwrap() {
                        Request::Hello { .. } => Reply::Hello(1),
                        _ => Reply::Unsupported("messages of this kind are not known here".to_owned()),
                    };
                    stream.write_all(&reply.encode()).unwrap();
                }
            }
        }
    });
    let told = |error: Error, what: &str| {
        assert!(
            matches!(&error, Error::Unsupported(said) if said.contains("older version") && said.contains(what)),
            "{error}"
        );
    };
    told(bench.process.exec(&key, &sh("true")).await.unwrap_err(), "runs no commands:");
    let typed = ExecOptions { stdin: true, ..sh("cat") };
    told(bench.process.exec(&key, &typed).await.unwrap_err(), "with a terminal or input:");
    let attach = AttachOptions { stdout: true, stderr: true, stdin: true, size: None };
    told(bench.process.attach(&key, &attach).await.unwrap_err(), "takes no input:");
    told(bench.process.input(&key).await.err().unwrap(), "takes no input:");
    // To look on, nothing is asked of it that it must do.
    bench.process.attach(&key, &AttachOptions { stdin: false, ..attach }).await.unwrap();
    older.join().unwrap();
    std::fs::rename(dir.path().join("ctl.real"), dir.ctl()).unwrap();
    assert_eq!(run(&bench, &key, &sh("true")).await.1, CommandEnd::Code(0));
}

#[tokio::test]
async fn more_commands_than_a_supervisor_takes_are_refused_and_harm_nobody() {
    let bench = Bench::new();
    let key = bench.sh("sleep 1000").await;
    let mut running = Vec::new();
    let error = loop {
        match bench.process.exec(&key, &sh("echo ready; sleep 1000")).await {
            Ok(execution) => running.push(execution),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(running.len(), 16);
    for execution in &mut running {
        assert!(matches!(execution.events.next().await, Some(Ok(ExecEvent::Output(_)))));
    }
    drop(running);
    let again = async {
        while bench.process.exec(&key, &sh("true")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
}
