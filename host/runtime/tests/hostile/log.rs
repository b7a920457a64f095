//! A guest that floods the daemon's log, or forges lines in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use seawall_backend::{ExecutionBackend, FaultKind};
use seawall_runtime::Plugin;
use serde_json::{Value, json};

use crate::arena::{arena, limits, refused};
use crate::guest::{Guest, REPORT};
use crate::told::{Premises, puppet};

/// The daemon's log, of which something is kept only while a test looks at it.
struct Kept {
    open: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

static KEPT: Kept = Kept { open: AtomicBool::new(false), bytes: Mutex::new(Vec::new()) };

impl std::io::Write for &'static Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.open.load(Ordering::SeqCst) {
            self.bytes.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the daemon's log on a terminal gets meanwhile. Calls run on threads of the executor, so it is that of the whole
/// process; arenas follow each other, so it is the test's alone.
pub(crate) async fn logged<T>(doing: impl Future<Output = T>) -> (T, String) {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let log = tracing_subscriber::fmt().with_ansi(false).with_target(false).compact().with_writer(|| &KEPT);
        tracing::subscriber::set_global_default(log.finish()).unwrap();
    });
    KEPT.open.store(true, Ordering::SeqCst);
    let done = doing.await;
    KEPT.open.store(false, Ordering::SeqCst);
    (done, String::from_utf8(std::mem::take(&mut *KEPT.bytes.lock().unwrap())).unwrap())
}

fn log(text: Value, times: u64) -> Value {
    json!([{"log": {"text": text, "times": times}}])
}

#[test]
fn a_flood_of_lines_is_cut_off_and_counted_and_the_call_goes_on() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let caller = |text: Value, times| {
            let limits = limits(json!({"check": {"log": "4KiB"}}));
            Plugin { limits, ..premises.caller("hostile", json!({"state": true, "docker": {}}), log(text, times)) }
        };
        // A line costs its text and 32 bytes: 4096 are 32 lines of 96, or 128 of nothing.
        for (text, times, written) in [("x".repeat(96), 32, 32), ("x".repeat(96), 33, 32), (String::new(), 5000, 128)] {
            let hostile = premises.load(arena, caller(json!(text), times)).await;
            let (report, said) = logged(hostile.check()).await;
            assert_eq!(report.unwrap().attributes[0].1, "written");
            let lines = said.lines().filter(|line| line.contains(&format!("hostile: {text}")));
            let (dropped, lines): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains("were dropped"));
            assert_eq!(lines.len(), written);
            let told = format!("{} lines of its log ({} bytes) were dropped", times - written as u64, {
                (times - written as u64) * text.len() as u64
            });
            let dropped =
                if text.is_empty() { dropped } else { said.lines().filter(|line| line.contains("dropped")).collect() };
            assert_eq!(dropped.len(), usize::from(times > written as u64), "{said}");
            assert!(dropped.iter().all(|line| line.contains(&told)), "{dropped:?}");
        }
        let hostile = premises.load(arena, caller(json!("x".repeat(96)), 5000)).await;
        arena
            .attack(&hostile, |hostile| async move {
                assert_eq!(hostile.check().await.unwrap().attributes[0].1, "written");
            })
            .await;
    });
}

/// Dropped lines were copied out of the guest all the same, and copying takes the host's time.
#[test]
fn what_is_dropped_counts_as_crossing() {
    arena(async |arena| {
        let premises = Premises::new().await;
        let load = async |times| {
            let limits = limits(json!({"check": {"bytes": "8MiB"}}));
            let steps = log(json!({"repeat": "x", "times": 1 << 20}), times);
            let caller = premises.caller("hostile", json!({"state": true, "docker": {}}), steps);
            premises.load(arena, Plugin { limits, ..caller }).await
        };
        assert!(load(7).await.check().await.is_ok());
        let hostile = load(9).await;
        arena
            .attack(&hostile, |hostile| async move {
                refused(hostile.check().await, FaultKind::Limit, "moved more bytes to and from the host");
            })
            .await;
    });
}

#[test]
fn a_line_forges_neither_another_line_nor_a_field() {
    arena(async |arena| {
        let forged = "fine\n2026-11-22T00:00:00Z ERROR docker: gone\r\u{1b}[2K\u{9b}1A\u{202e}x\u{2028}y\u{0} backend=\"docker\"";
        let hostile = arena.load(puppet(json!({"create-log": forged}))).await;
        let spec = seawall_model::SessionSpec::new("hostile".parse().unwrap());
        let (status, said) = logged(hostile.create(&crate::arena::key(), &"it".parse().unwrap(), &spec)).await;
        status.unwrap();
        assert_eq!(said.lines().count(), 1, "{said:?}");
        let line = said.trim_end();
        assert!(!line.contains(seawall_model::is_deceptive), "{line:?}");
        // The host says whose line it is, before the first letter that the plugin chose and after the last.
        let (head, tail) = line.split_once("fine").unwrap();
        assert!(head.ends_with("WARN hostile: ") && tail.ends_with("backend=\"hostile\""), "{line}");
        assert!(
            line.contains(r"fine\n2026-11-22T00:00:00Z ERROR docker: gone\r\u{1b}[2K\u{9b}1A\u{202e}x\u{2028}y\u{0}"),
            "{line}"
        );
    });
}

#[test]
fn a_huge_line_is_cut_and_every_level_is_the_plugins_own() {
    arena(async |arena| {
        let line = "é".repeat(10_000);
        let (said, _) = {
            let hostile = arena.load(puppet(json!({"create-log": line}))).await;
            let spec = seawall_model::SessionSpec::new("hostile".parse().unwrap());
            let (status, said) = logged(hostile.create(&crate::arena::key(), &"it".parse().unwrap(), &spec)).await;
            (said, status.unwrap())
        };
        assert!(said.contains("ééé…") && said.len() < 9 << 10, "{} bytes", said.len());
        // An error of a plugin is an error of its own, and a level that there is not is no level.
        for (level, word) in [(0, ""), (1, ""), (2, " INFO "), (3, " WARN "), (4, "ERROR ")] {
            let guest = Guest::new().import("log", "write", "(param i32 i32 i32)").body(
                "check",
                format!("(call $write (i32.const {level}) (i32.const 1024) (i32.const 4)) i32.const {REPORT}"),
            );
            let hostile = arena.load(arena.plugin(&guest)).await;
            let (report, said) = logged(hostile.check()).await;
            report.unwrap();
            assert!(
                if word.is_empty() { said.is_empty() } else { said.contains(&format!("{word}hostile: test")) },
                "{said}"
            );
        }
        let guest = Guest::new()
            .import("log", "write", "(param i32 i32 i32)")
            .body("check", format!("(call $write (i32.const 5) (i32.const 1024) (i32.const 4)) i32.const {REPORT}"));
        refused(arena.load(arena.plugin(&guest)).await.check().await, FaultKind::Trap, "discriminant");
    });
}
