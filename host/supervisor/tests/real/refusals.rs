//! What cannot be had is refused by name, and nothing is made.

use seawall_backend::Error;
use seawall_model::{Secret, State};
use seawall_process::{Process, ProcessGrant, Program, Rlimit, Scope, SetupError};

use crate::bench::{Bench, has, is_root, key, shell};

async fn refused(bench: &Bench, program: &Program) -> Error {
    let error = bench.process.create(program).await.unwrap_err();
    assert_eq!(bench.status(&program.key).await, None, "nothing was made");
    error
}

fn fields(error: &Error) -> Vec<&str> {
    match error {
        Error::Invalid(invalid) => invalid.problems.iter().map(|problem| problem.field.as_str()).collect(),
        other => panic!("not invalid: {other}"),
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bench = Bench::new();
    let plain = bench.shared().join("plain");
    std::fs::write(&plain, "text").unwrap();
    for (name, said) in [
        ("no-such-program-anywhere", "no-such-program-anywhere"),
        ("/no/such/file", "/no/such/file"),
        ("/etc", "directory"),
        ("./relative", "relative"),
        ("", "program"),
        (plain.to_str().unwrap(), "executable"),
    ] {
        let error = refused(&bench, &Program::new(key(), vec![name.to_owned()])).await;
        assert_eq!(fields(&error), ["command"], "{name}");
        assert!(error.to_string().contains(said), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_told_at_start_every_time() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    for (text, mode, said) in [("#!/no/such/interpreter\n", 0o755, "interpreter"), ("#!/bin/sh\n", 0o700, "denied")] {
        if said == "denied" && !is_root() {
            continue;
        }
        let file = bench.shared().join(said);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let program = Program::new(key(), vec![file.to_str().unwrap().to_owned()]);
        bench.process.create(&program).await.unwrap();
        for _ in 0..2 {
            let error = bench.process.start(&program.key).await.unwrap_err();
            assert_eq!(fields(&error), ["command"]);
            assert!(error.to_string().contains(said), "{error}");
        }
        let status = bench.ended(&program.key).await;
        assert_eq!((status.state, status.started_at), (State::Exited, None));
        let exit = status.exit.unwrap();
        assert_eq!(exit.code, Some(if said == "denied" { 126 } else { 127 }), "as a shell says it");
        assert!(exit.message.unwrap().contains(said));
    }
}

#[tokio::test]
async fn every_fault_of_the_text_is_named_at_once() {
    let bench = Bench::new();
    let mut program = shell("exit 0");
    program.command.push("a\0b".into());
    program.env = vec![("A=B".into(), Secret::new("x")), ("GOOD".into(), Secret::new("nul\0"))];
    program.rlimits =
        vec![Rlimit { name: "nofile".into(), soft: 2, hard: 1 }, Rlimit { name: "patience".into(), soft: 1, hard: 1 }];
    (program.log_max_size, program.log_max_files) = (Some(1), Some(0));
    let expected = [
        "command[3]",
        "env.A=B",
        "env.GOOD",
        "resources.ulimits[0]",
        "resources.ulimits[1]",
        "logs.max_size",
        "logs.max_files",
    ];
    assert_eq!(fields(&refused(&bench, &program).await), expected);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let bench = Bench::new();
    for dir in ["/no/such/dir", "relative", "/etc/passwd"] {
        let program = Program { working_dir: Some(dir.into()), ..shell("exit 0") };
        let error = refused(&bench, &program).await;
        assert_eq!(fields(&error), ["working_dir"]);
        assert!(error.to_string().contains(dir), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_links_or_not() {
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    std::os::unix::fs::symlink("/bin/sleep", inside.join("sleep")).unwrap();
    std::fs::copy("/bin/true", inside.join("true")).unwrap();
    let bench = Bench::with(ProcessGrant {
        programs: Some(vec![inside.clone()]),
        directories: Some(vec![inside.clone()]),
        ..ProcessGrant::default()
    });
    let path = |name: &str| inside.join(name).to_str().unwrap().to_owned();
    for command in ["/bin/sh".to_owned(), path("sleep"), path("../inside/link/../../outside")] {
        let error = bench.process.create(&Program::new(key(), vec![command])).await.unwrap_err();
        assert!(matches!(&error, Error::Denied(_) | Error::Invalid(_)), "{error}");
    }
    for dir in [path("link"), path(".."), "/".to_owned(), path("link/..")] {
        let mut program = Program::new(key(), vec![path("true")]);
        program.working_dir = Some(dir);
        let error = refused(&bench, &program).await;
        assert!(matches!(&error, Error::Denied(message) if message.contains("grants.process")), "{error}");
    }
    let mut program = Program::new(key(), vec![path("true")]);
    program.working_dir = Some(path("."));
    bench.process.create(&program).await.unwrap();
}

#[tokio::test]
async fn another_user_must_be_granted() {
    let bench = Bench::new();
    for user in ["root", "0", "daemon", "nobody:0"] {
        if !is_root() && user.contains("root") {
            continue;
        }
        let program = Program { user: Some(user.into()), ..shell("exit 0") };
        let error = refused(&bench, &program).await;
        assert!(matches!(&error, Error::Denied(message) if message.starts_with("user: ")), "{error}");
    }
    let program = Program { user: Some("no-such-user".into()), ..shell("exit 0") };
    assert_eq!(fields(&refused(&bench, &program).await), ["user"]);
}

#[tokio::test]
async fn a_granted_user_may_be_asked_for() {
    if !has("root", is_root()) {
        return;
    }
    let bench = Bench::with(ProcessGrant { users: vec!["daemon".into(), "4242:4343".into()], ..Default::default() });
    for (user, expected) in [("daemon", "1:1"), ("4242:4343", "4242:4343")] {
        let program = Program { user: Some(user.into()), ..shell("echo $(id -u):$(id -g)") };
        assert_eq!(bench.output(&program).await.trim(), expected);
    }
    let program = Program { user: Some("4242".into()), ..shell("exit 0") };
    assert!(matches!(refused(&bench, &program).await, Error::Denied(_)), "only with the granted group");
}

#[tokio::test]
async fn a_grant_that_makes_no_sense_is_refused_before_anything_runs() {
    let bench = Bench::new();
    let bad = |grant: ProcessGrant| match Process::new(bench.scope(), grant) {
        Err(SetupError::Grant { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let grant = ProcessGrant::default();
    assert_eq!(bad(ProcessGrant { user: Some("no-such-user".into()), ..grant.clone() }), "user");
    assert_eq!(bad(ProcessGrant { users: vec!["no-such-user".into()], ..grant.clone() }), "users");
    assert_eq!(bad(ProcessGrant { programs: Some(vec!["bin".into()]), ..grant.clone() }), "programs");
    assert_eq!(bad(ProcessGrant { directories: Some(vec!["srv".into()]), ..grant.clone() }), "directories");
    assert_eq!(bad(ProcessGrant { path: Some("/bin::/usr/bin".into()), ..grant.clone() }), "path");
    assert_eq!(bad(ProcessGrant { env: [("A=".to_owned(), String::new())].into(), ..grant }), "env");
}

#[tokio::test]
async fn a_missing_supervisor_is_named_and_nothing_is_begun() {
    let bench = Bench::new();
    let scope = Scope { supervisor: "/no/such/supervisor".into(), ..bench.scope() };
    let process = Process::new(scope, ProcessGrant::default()).unwrap();
    let error = process.ping().await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { message, .. } if message.contains("/no/such/supervisor")), "{error}");
    let program = shell("exit 0");
    process.create(&program).await.unwrap();
    let error = process.start(&program.key).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. }), "{error}");
    // It can be started once the supervisor is there.
    assert_eq!(bench.status(&program.key).await.unwrap().state, State::Created);
    bench.process.start(&program.key).await.unwrap();
}
