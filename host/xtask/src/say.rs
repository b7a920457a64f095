//! What people read while a command works: headings, notes, commands with their output. Plain on a pipe, with a
//! little colour on a terminal.

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static COLOUR: LazyLock<bool> =
    LazyLock::new(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

fn paint(code: &str, text: impl Display) -> String {
    if *COLOUR { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}

/// Standard output belongs to a document.
static ASIDE: AtomicBool = AtomicBool::new(false);

/// From now on all of this goes to standard error.
pub(crate) fn aside() {
    ASIDE.store(true, Ordering::Relaxed);
}

fn line(text: impl Display) {
    if ASIDE.load(Ordering::Relaxed) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

/// Begins a part.
pub(crate) fn heading(text: &str) {
    line(format_args!("\n{}", paint("1;36", format_args!("== {text}"))));
}

/// What is done, and why.
pub(crate) fn note(text: impl Display) {
    line(format_args!("   {}", paint("2", text)));
}

/// Something was checked and holds.
pub(crate) fn holds(text: impl Display) {
    line(format_args!("   {} {text}", paint("32", "ok")));
}

/// Something that must not be overlooked.
pub(crate) fn warn(text: impl Display) {
    line(format_args!("   {} {text}", paint("1;33", "NOTE")));
}

/// A command as one would type it.
pub(crate) fn command(line: &str) {
    println!("{} {}", paint("32", "$"), paint("1", line));
}

/// What a command printed.
pub(crate) fn output(text: &str) {
    for line in text.trim_end().lines() {
        println!("  {line}");
    }
}

/// A duration as people say it.
pub(crate) fn duration(time: Duration) -> String {
    match time.as_millis() {
        0..1_000 => format!("{} ms", time.as_millis()),
        1_000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

/// Whether somebody watches.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}
