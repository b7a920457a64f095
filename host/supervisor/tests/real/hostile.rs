//! Programs, and plugins that ask for them, against the daemon's files, its other sessions and the machine.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::process::{Resource, Signal as Raw, getrlimit};
use seawall_backend::Error;
use seawall_model::{Health, LogOptions, Secret, Signal, State};
use seawall_process::{Process, ProcessGrant, Program, Rlimit, Scope};
use seawall_supervisor::record::{self, Started};

use crate::bench::{Bench, PATIENCE, alive, ended_with, has, is_root, key, shell};

/// Nothing that is asked in these tests waits for anybody.
async fn at_once<T>(what: &str, asked: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{what} is held up"))
}

fn put_fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

#[tokio::test]
async fn a_session_replaces_nothing_in_its_run_directory_and_its_end_is_told_as_it_was() {
    if !has("root, to be another user", is_root()) {
        return;
    }
    let bench = Bench::new();
    let script = "for f in stamp program lock begun started exit ctl exec log trouble; do \
                    for do in \"rm -r ../$f\" \"mv ../$f moved\" \"ln -sf /etc/passwd ../$f\" \"ln ../$f linked\" \
                      \"mkfifo ../$f.new\" \"chmod 777 ../$f\" \"dd of=../$f\"; do \
                      $do < /dev/null > /dev/null 2>&1 && echo \"BAD: $do\"; \
                    done; \
                    test -r ../$f -o -w ../$f && echo \"BAD: $f can be used\"; \
                  done; \
                  ln -s /etc/passwd ../log/0000000002 && echo BAD; mv .. ../../9 && echo BAD; cd ..; touch x && echo BAD; \
                  echo done; exit 7";
    let program = shell(script);
    bench.run(&program).await;
    ended_with(&bench.ended(&program.key).await, Some(7), None);
    let options = LogOptions { stderr: false, ..LogOptions::default() };
    assert_eq!(String::from_utf8(bench.log(&program.key, options).await).unwrap(), "done\n");
}

#[tokio::test]
async fn a_fifo_a_device_or_a_link_in_the_place_of_a_record_holds_up_nobody() {
    let bench = Bench::new();
    let neighbour = bench.sh("sleep 1000").await;
    for name in ["exit", "started", "program", "lock", "stamp"] {
        for plant in [put_fifo as fn(&Path), |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        }] {
            let program = shell("exit 3");
            bench.run(&program).await;
            bench.ended(&program.key).await;
            let path = bench.run_dir(&program.key).path().join(name);
            let kept = fs::read(&path).unwrap();
            plant(&path);
            let keys = [program.key.clone(), neighbour.clone()];
            let found = at_once(name, bench.process.inspect(&keys)).await.unwrap();
            let told = found.iter().find(|found| found.position == 1).expect("the neighbour").status.clone();
            assert_eq!((told.state, told.health), (State::Running, Health::Healthy), "{name}");
            if let Some(own) = found.iter().find(|found| found.position == 0) {
                let exit = own.status.exit.as_ref().and_then(|exit| exit.code);
                assert!(exit.is_none_or(|code| code == 3), "{name}: nothing is made up: {own:?}");
            }
            let _ = at_once(name, bench.process.list(None)).await.unwrap();
            let _ = at_once(name, bench.process.signal(&program.key, Signal::KILL)).await;
            let _ = at_once(name, bench.process.remove(&program.key, true)).await;
            if path.symlink_metadata().is_ok() {
                // What the daemon could not judge it left alone. It is put right, and can go.
                fs::remove_file(&path).unwrap();
                fs::write(&path, &kept).unwrap();
                bench.process.remove(&program.key, true).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_was_replaced_is_not_read_and_holds_up_nobody() {
    let bench = Bench::new();
    let read = async |program: &Program| {
        let stream = bench.process.logs(&program.key, &LogOptions::default()).await?;
        Ok::<_, Error>(crate::bench::collect(stream).await.concat())
    };
    let shadow = bench.shared().join("elsewhere");
    fs::write(&shadow, "not for everybody").unwrap();
    for what in ["fifo", "link", "device"] {
        let program = shell("echo output");
        bench.run(&program).await;
        bench.ended(&program.key).await;
        assert_eq!(read(&program).await.unwrap(), b"output\n");
        let file = bench.run_dir(&program.key).log().join("0000000001");
        match what {
            "fifo" => put_fifo(&file),
            _ => {
                fs::remove_file(&file).unwrap();
                symlink(if what == "link" { &shadow } else { Path::new("/dev/zero") }, &file).unwrap();
            }
        }
        let error = at_once(what, read(&program)).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { message, .. } if message.contains("0000000001")), "{error}");
    }

    // A hole of a terabyte is no output, and takes no memory.
    let program = shell("echo output");
    bench.run(&program).await;
    bench.ended(&program.key).await;
    let file = File::create(bench.run_dir(&program.key).log().join("0000000001")).unwrap();
    file.set_len(1 << 40).unwrap();
    for tail in [None, Some(10)] {
        let options = LogOptions { tail, ..LogOptions::default() };
        let stream = bench.process.logs(&program.key, &options).await.unwrap();
        assert_eq!(at_once("the hole", crate::bench::collect(stream)).await.concat(), b"");
    }
}

#[tokio::test]
async fn a_supervisors_last_words_are_cut_however_many_there_are() {
    let bench = Bench::new();
    let scope = Scope { supervisor: "/bin/false".into(), ..bench.scope() };
    let process = Process::new(scope, ProcessGrant::default()).unwrap();
    let program = shell("exit 0");
    process.create(&program).await.unwrap();
    let trouble = bench.run_dir(&program.key).trouble();
    let file = File::create(&trouble).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"the end", 1 << 40).unwrap();
    let error = at_once("the start", process.start(&program.key)).await.unwrap_err().to_string();
    assert!(error.contains("the end") && error.len() < 8000, "{} bytes", error.len());
    put_fifo(&trouble);
    at_once("the start", process.start(&program.key)).await.unwrap_err();
    fs::remove_file(&trouble).unwrap();
}

#[tokio::test]
async fn a_forged_process_id_gets_no_signal() {
    let bench = Bench::new();
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = stranger.id().cast_signed();
    for kill_supervisor in [false, true] {
        let key = bench.sh("exec sleep 1000").await;
        let (place, real) = (bench.run_dir(&key).started(), bench.started(&key));
        fs::remove_file(&place).unwrap();
        record::write(&place, &Started { at: 1, pid, supervisor: pid }, false).unwrap();
        if kill_supervisor {
            crate::bench::send(real.supervisor, Raw::KILL);
            assert_eq!(bench.ended(&key).await.state, State::Dead);
        }
        bench.process.signal(&key, Signal::TERM).await.unwrap();
        bench.process.signal(&key, Signal::KILL).await.unwrap();
        bench.process.remove(&key, true).await.unwrap();
        crate::bench::eventually("its own process is gone", || !alive(real.pid)).await;
        assert!(alive(pid), "a process that is not ours");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A directory that may be run from, with a real program in it.
fn granted() -> (tempfile::TempDir, std::path::PathBuf, Bench) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inside = place.path().canonicalize().unwrap().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::copy("/bin/true", inside.join("tool")).unwrap();
    let bench = Bench::with(ProcessGrant {
        programs: Some(vec![inside.clone()]),
        directories: Some(vec![inside.clone()]),
        ..ProcessGrant::default()
    });
    (place, inside, bench)
}

fn tool(path: &Path) -> Program {
    Program::new(key(), vec![path.to_str().unwrap().to_owned()])
}

#[tokio::test]
async fn a_program_that_is_turned_into_a_link_after_the_check_is_not_started() {
    let (_place, inside, bench) = granted();
    let program = tool(&inside.join("tool"));
    bench.process.create(&program).await.unwrap();
    fs::remove_file(inside.join("tool")).unwrap();
    symlink("/bin/true", inside.join("tool")).unwrap();
    let error = bench.process.start(&program.key).await.unwrap_err();
    assert!(matches!(&error, Error::Denied(message) if message.contains("grants.process")), "{error}");
    assert_eq!(bench.status(&program.key).await.unwrap().state, State::Created);
    // The directory too.
    fs::create_dir(inside.join("dir")).unwrap();
    fs::remove_file(inside.join("tool")).unwrap();
    fs::copy("/bin/true", inside.join("tool")).unwrap();
    let program = Program { working_dir: inside.join("dir").to_str().map(str::to_owned), ..tool(&inside.join("tool")) };
    bench.process.create(&program).await.unwrap();
    fs::remove_dir(inside.join("dir")).unwrap();
    symlink("/etc", inside.join("dir")).unwrap();
    let error = bench.process.start(&program.key).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(invalid) if invalid.problems[0].field == "working_dir"), "{error}");
}

#[tokio::test]
async fn a_granted_script_brings_its_interpreter_and_nothing_else() {
    let (_place, inside, bench) = granted();
    let script = inside.join("script");
    fs::write(&script, "#!/bin/sh\necho $0 $1\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut program = tool(&script);
    program.command.push("-c".to_owned());
    assert_eq!(bench.output(&program).await, format!("{} -c\n", script.display()));
    for outside in ["/bin/sh", "sh", "/bin/../bin/sh"] {
        let error = bench.process.create(&tool(Path::new(outside))).await.unwrap_err();
        assert!(matches!(&error, Error::Denied(_)), "{outside}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_does_not_tell_what_there_is_outside_of_the_grant() {
    let (place, inside, bench) = granted();
    let outside = place.path().canonicalize().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("there"), "").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("there"), inside.join("hit")).unwrap();
    symlink(outside.join("absent"), inside.join("miss")).unwrap();
    let answer = async |path: &Path, command: bool| {
        let program = if command {
            tool(path)
        } else {
            Program { working_dir: path.to_str().map(str::to_owned), ..tool(&inside.join("tool")) }
        };
        let error = bench.process.create(&program).await.unwrap_err();
        (matches!(error, Error::Denied(_)), error.to_string().replace(path.to_str().unwrap(), "PATH"))
    };
    for command in [true, false] {
        let expected = answer(Path::new("/etc/shadow"), command).await;
        assert!(expected.0, "{expected:?}");
        for path in [
            "/etc/no-such-file".into(),
            outside.join("there"),
            outside.join("absent/deep"),
            inside.join("link/there"),
            inside.join("link/absent"),
            inside.join("hit"),
            inside.join("miss"),
            inside.join("../outside/there"),
            inside.join("../outside/absent"),
        ] {
            assert_eq!(answer(&path, command).await, expected, "{}", path.display());
        }
        // What is missing where it may be is told.
        let (denied, said) = answer(&inside.join("absent"), command).await;
        assert!(!denied && said.contains("no such file"), "{said}");
    }
}

#[tokio::test]
async fn variables_reach_the_program_and_not_its_supervisor() {
    let bench = Bench::new();
    let mut program = shell("exec sleep 1000");
    let library = bench.shared().join("evil.so");
    program.env = ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "SEAWALL_DATA_DIR", "RUST_BACKTRACE"]
        .map(|name| (name.to_owned(), Secret::new(library.to_str().unwrap())))
        .to_vec();
    bench.run(&program).await;
    let started = bench.started(&program.key);
    assert_eq!(fs::read(format!("/proc/{}/environ", started.supervisor)).unwrap(), b"");
    // A program that is executed shows its variables a moment later.
    crate::bench::eventually("the program has them", || {
        let given = fs::read(format!("/proc/{}/environ", started.pid)).unwrap();
        String::from_utf8_lossy(&given).contains("LD_PRELOAD=")
    })
    .await;
}

#[tokio::test]
async fn a_session_of_another_user_is_neither_killed_nor_read() {
    if !has("root, to be other users", is_root()) {
        return;
    }
    // Numbers that nobody else has: what follows kills all that it may.
    let bench = Bench::with(ProcessGrant {
        users: vec!["1961234:1961234".into(), "1965432:1965432".into()],
        ..ProcessGrant::default()
    });
    let victim = Program {
        user: Some("1961234:1961234".into()),
        env: vec![("TOKEN".into(), Secret::new("hunter2"))],
        ..shell("echo secret > file; exec sleep 1000")
    };
    bench.run(&victim).await;
    let started = bench.started(&victim.key);
    let work = bench.run_dir(&victim.key).work();
    crate::bench::eventually("its file is there", || work.join("file").exists()).await;
    let attack = format!(
        "cat {work}/file && echo BAD; ls {work} && echo BAD; touch {work}/new && echo BAD; ls {runs} && echo BAD; \
         cat /proc/{pid}/environ && echo BAD; ls /proc/{pid}/cwd/ && echo BAD; kill -9 {pid} && echo BAD; \
         kill -9 {supervisor} && echo BAD; echo done; kill -9 -1",
        work = work.display(),
        runs = bench.scope().runs.display(),
        pid = started.pid,
        supervisor = started.supervisor,
    );
    let attacker = Program { user: Some("1965432:1965432".into()), ..shell(&attack) };
    bench.run(&attacker).await;
    bench.ended(&attacker.key).await;
    let options = LogOptions { stderr: false, ..LogOptions::default() };
    assert_eq!(String::from_utf8(bench.log(&attacker.key, options).await).unwrap(), "done\n");
    assert_eq!(bench.status(&victim.key).await.unwrap().state, State::Running);
    assert!(alive(started.pid) && alive(started.supervisor));
}

#[tokio::test]
async fn no_session_gets_ahead_of_everybody_else_at_the_processor() {
    let bench = Bench::new();
    for (name, resource) in [("rtprio", Resource::Rtprio), ("nice", Resource::Nice)] {
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limited = |hard| Program { rlimits: vec![Rlimit { name: name.into(), soft: 0, hard }], ..shell("exit 0") };
        let program = limited(most);
        bench.run(&program).await;
        ended_with(&bench.ended(&program.key).await, Some(0), None);
        if let Some(above) = most.checked_add(1) {
            let error = bench.process.create(&limited(above)).await.unwrap_err();
            let Error::Invalid(invalid) = &error else { panic!("{error}") };
            assert_eq!(invalid.problems[0].field, "resources.ulimits[0]");
            assert!(error.to_string().contains("LimitRTPRIO"), "{error}");
        }
    }
}
