//! Plugins are compiled by a child of the daemon, under bounds, and none is left when the daemon goes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use seawall_integration::{eventually, fixture, home};
use seawall_testing::daemon::Home;

/// A plugin that takes the compiler minutes: a good one with a core module of many large functions in it.
fn slow(home: &Home) -> Result<PathBuf> {
    let turn: &[u8] = &[0x02, 0x40, 0x20, 0, 0x0d, 0, 0x20, 0, 0x41, 3, 0x6c, 0x21, 0, 0x0b];
    let body = [&[0][..], &turn.repeat(20_000), &[0x20, 0, 0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let count = 100;
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[leb(count), vec![0; count]].concat()),
        section(10, &[leb(count), body.repeat(count)].concat()),
    ];
    let file = home.dir().join("slow.wasm");
    let wasm = [std::fs::read(fixture("spin")?)?, section(1, &module.concat())].concat();
    std::fs::write(&file, wasm)?;
    Ok(file)
}

/// A number as WebAssembly's binary format has it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, contents: &[u8]) -> Vec<u8> {
    [vec![id], leb(contents.len()), contents.to_vec()].concat()
}

/// The processes that compile for this one.
fn compilers(of: u32) -> Vec<Pid> {
    let mark = format!("--compile-component\0{of}\0");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&mark)
        })
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn spawned(command: &mut Command) -> Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("start seawall")
}

fn backend(home: &Home) -> Result<String> {
    Ok(format!("[backend.docker]\nenabled = false\n[backend.slow]\nplugin = {:?}\n", slow(home)?.display().to_string()))
}

fn compiles(of: &Child) -> Result<Pid> {
    eventually("it compiles", || Ok(compilers(of.id()).first().copied()))
}

fn none_is_left(of: u32) -> Result<()> {
    eventually("no compiler is left", || Ok(compilers(of).is_empty().then_some(())))
}

#[test]
fn a_plugin_that_does_not_compile_within_its_bounds_is_refused_by_name_of_the_bound() -> Result<()> {
    for (bound, field) in [("time = \"1ms\"", "time"), ("memory = \"8MiB\"", "memory"), ("code = \"1KiB\"", "code")] {
        let home = home(&format!("[runtime.compile]\n{bound}\n"))?;
        // Nothing was compiled before.
        let own = home.dir().join("own-cache");
        let home = home.with_cache(&own);
        let output = home.serve_command().output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(76), "{bound}: {said}");
        assert!(said.contains(&format!("`runtime.compile.{field}`")), "{bound}: {said}");
        assert!(!home.socket().exists(), "{bound}: the daemon listened");
    }
    Ok(())
}

#[test]
fn a_daemon_that_ends_while_it_compiles_leaves_no_compiler() -> Result<()> {
    for (signal, code) in [(Signal::TERM, Some(0)), (Signal::KILL, None)] {
        let home = home("")?;
        home.configure(&backend(&home)?)?;
        let mut daemon = spawned(&mut home.serve_command())?;
        compiles(&daemon)?;
        kill_process(Pid::from_child(&daemon), signal)?;
        assert_eq!(daemon.wait()?.code(), code, "{signal:?}");
        none_is_left(daemon.id())?;
    }
    Ok(())
}

#[test]
fn a_compiler_that_dies_is_a_typed_error_of_the_plugin_that_it_compiled() -> Result<()> {
    let home = home("")?;
    let file = slow(&home)?;
    let inspecting = spawned(home.command(["plugin", "inspect"]).arg(&file))?;
    kill_process(compiles(&inspecting)?, Signal::KILL)?;
    let pid = inspecting.id();
    let output = inspecting.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(76), "{said}");
    assert!(said.contains("the compiler crashed") && said.contains("SIGKILL"), "{said}");
    none_is_left(pid)
}
