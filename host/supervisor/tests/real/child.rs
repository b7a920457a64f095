//! What the program sees of itself.

use seawall_model::{LogOptions, Secret, Signal, State};
use seawall_process::{Program, Rlimit};
use seawall_supervisor::protocol::Request;

use crate::bench::{Bench, has, is_root, shell};

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.split(':').next() == Some(name)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value.trim())
}

/// Of the signals that have names; the first is the lowest bit.
fn ignored(status: &str) -> u64 {
    u64::from_str_radix(field(status, "SigIgn"), 16).unwrap() & 0x7fff_ffff
}

#[tokio::test]
async fn as_root_a_session_is_nobody_and_can_become_nothing_else() {
    if !has("root", is_root()) {
        return;
    }
    let bench = Bench::new();
    let status = bench.output(&shell("cat /proc/self/status")).await;
    assert_eq!(field(&status, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&status, "Gid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&status, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "SigBlk"), "0000000000000000");
    assert_eq!(ignored(&status), 0, "a broken pipe ends it, as it should");
}

#[tokio::test]
async fn no_signal_is_ignored_whoever_started_the_daemon() {
    let bench = Bench::in_the_background();
    let status = bench.output(&shell("cat /proc/self/status")).await;
    assert_eq!(ignored(&status), 0);
}

#[tokio::test]
async fn the_environment_is_what_was_asked_for_and_what_everything_needs() {
    let bench = Bench::new();
    let mut program = Program::new(crate::bench::key(), vec!["env".into()]);
    program.env = vec![("TOKEN".into(), Secret::new("a b\nc")), ("PATH".into(), Secret::new("/nowhere"))];
    let text = bench.output(&program).await;
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH", "TOKEN", "USER"]);
    assert!(text.contains("TOKEN=a b\nc\n") && text.contains("PATH=/nowhere\n"), "{text}");
    assert!(!format!("{program:?}").contains("a b"), "values are not shown");
}

#[tokio::test]
async fn the_private_directory_can_be_used_and_nothing_beside_it() {
    if !has("root, to be another user", is_root()) {
        return;
    }
    let bench = Bench::new();
    let script = "pwd > file && cat \"$(pwd)/file\" && for f in program stamp log lock ctl exec; do \
                  cat ../$f && echo BAD $f; done; ls ../log && echo BAD; ls .. && echo BAD; echo > ../new && echo BAD; \
                  echo done";
    let program = shell(script);
    bench.run(&program).await;
    bench.ended(&program.key).await;
    // Of two streams nobody knows the order.
    let stdout = LogOptions { stderr: false, ..LogOptions::default() };
    let text = String::from_utf8(bench.log(&program.key, stdout).await).unwrap();
    let work = bench.run_dir(&program.key).work();
    assert!(text.starts_with(&format!("{}\n", work.display())) && text.ends_with("done\n"), "{text}");
    assert!(!text.contains("BAD"), "{text}");
}

#[tokio::test]
async fn it_runs_where_it_was_asked_to_with_the_name_it_was_called_by() {
    let bench = Bench::new();
    let shared = bench.shared();
    let mut program = shell("pwd; echo $0; cat; echo $#");
    program.command.extend(["called".to_owned(), String::new(), "b c".to_owned()]);
    program.working_dir = Some(shared.to_str().unwrap().to_owned());
    assert_eq!(bench.output(&program).await, format!("{}\ncalled\n2\n", shared.display()));
}

#[tokio::test]
async fn limits_of_a_process_are_set() {
    let bench = Bench::new();
    let mut program = shell("ulimit -Sn; ulimit -Hn; ulimit -c");
    program.rlimits =
        vec![Rlimit { name: "nofile".into(), soft: 77, hard: 99 }, Rlimit { name: "core".into(), soft: 0, hard: 0 }];
    assert_eq!(bench.output(&program).await, "77\n99\n0\n");
}

#[tokio::test]
async fn it_leads_a_session_of_its_own_and_has_no_terminal() {
    let bench = Bench::new();
    let key = bench.sh("cut -d' ' -f5-7 /proc/$$/stat; echo $$; exec ls /proc/self/fd").await;
    bench.ended(&key).await;
    let text = String::from_utf8(bench.log(&key, LogOptions::default()).await).unwrap();
    let pid = bench.started(&key).pid;
    assert_eq!(text, format!("{pid} {pid} 0\n{pid}\n0\n1\n2\n3\n"), "three descriptors, and the listing's own");
}

#[tokio::test]
async fn with_a_terminal_it_has_one() {
    let bench = Bench::new();
    let mut program =
        shell("tty <&2 | head -c 8; test -t 1 && test -t 2 && echo yes; stty size <&1; echo $TERM; read x; echo $?");
    program.tty = true;
    let text = bench.output(&program).await;
    assert_eq!(text, "/dev/ptsyes\r\n24 80\r\nxterm\r\n1\r\n", "standard input is at its end");

    let mut program = shell("echo ready; read x");
    (program.tty, program.stdin) = (true, true);
    bench.run(&program).await;
    assert_eq!(bench.status(&program.key).await.unwrap().state, State::Running, "it waits for a line");
}

#[tokio::test]
async fn standard_input_stays_open_only_where_it_was_asked_for() {
    let bench = Bench::new();
    assert_eq!(bench.output(&shell("cat; echo end")).await, "end\n");
    let mut program = shell("cat; echo end");
    program.stdin = true;
    bench.run(&program).await;
    assert_eq!(bench.status(&program.key).await.unwrap().state, State::Running);
    crate::bench::request(&bench.run_dir(&program.key), Request::CloseStdin);
    bench.ended(&program.key).await;
    assert_eq!(bench.log(&program.key, LogOptions::default()).await, b"end\n");
}

#[tokio::test]
async fn a_supervisor_is_small() {
    let bench = Bench::new();
    let key = bench.sh("yes | head -c 3000000; sleep 1000").await;
    let log = bench.run_dir(&key).log();
    let size = || std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    crate::bench::eventually("it has moved some bytes", || size() >= 3_000_000).await;
    let supervisor = bench.started(&key).supervisor;
    let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let kib: u64 = field(&status, "VmRSS").trim_end_matches(" kB").parse().unwrap();
    eprintln!("a supervisor holds {kib} KiB resident");
    assert!(kib <= 3 << 10, "{kib} KiB");
    bench.process.signal(&key, Signal::KILL).await.unwrap();
}
