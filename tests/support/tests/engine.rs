//! The private Engine itself: it comes up, and nothing of it is left.

use std::path::{Path, PathBuf};
use std::process::Command;

use seawall_testing::docker::{Engine, named_after};

/// What any Engine could leave outside of its directory, and nobody else makes.
fn traces() -> Vec<String> {
    let places = ["/run/docker", "/run/containerd", "/var/lib/docker", "/var/lib/containerd", "/etc/docker"];
    let mut found: Vec<_> = places.iter().filter(|place| Path::new(place).exists()).map(|&p| p.to_owned()).collect();
    for dir in ["/run/containerd/s", "/run/docker/plugins"] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    found
}

fn processes_that_name(dir: &Path) -> usize {
    let name = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(&name))
        .count()
}

#[test]
fn an_engine_runs_containers_comes_back_and_leaves_nothing() {
    let before = traces();
    let Some(engine) = Engine::start_or_skip("the private Engine") else { return };
    let dir = engine.dir().to_owned();

    assert_eq!(engine.docker(["run", "--rm", "busybox", "echo", "hello"]).unwrap(), "hello");
    engine.docker(["run", "-d", "--name", "left-running", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]).unwrap();
    engine.pause_process().unwrap();
    engine.resume().unwrap();
    engine.kill().unwrap();
    engine.up().unwrap();
    let names = engine.docker(["ps", "-a", "--format", "{{.Names}}"]).unwrap();
    assert_eq!(names, "left-running");
    engine.docker(["start", "left-running"]).unwrap();
    engine.kill().unwrap();

    assert!(!named_after(&dir).is_empty(), "it has a bridge");
    drop(engine);
    assert!(!dir.exists());
    assert_eq!(processes_that_name(&dir), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&dir.display().to_string()));
    let left: Vec<_> = traces().into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(named_after(&dir), Vec::<PathBuf>::new());
}

#[test]
fn two_engines_run_beside_each_other() {
    let Some(one) = Engine::start_or_skip("two private Engines") else { return };
    let Some(two) = Engine::start_or_skip("two private Engines") else { return };
    one.docker(["run", "-d", "--name", "only-here", "busybox", "sleep", "1000"]).unwrap();
    assert_eq!(two.docker(["ps", "-aq"]).unwrap(), "");
    let output = Command::new("docker").args(["-H", &two.host(), "images", "-q"]).output().unwrap();
    assert!(!output.stdout.is_empty());
}
