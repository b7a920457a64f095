//! The daemon's life in its process: starts the [`App`], says that it is ready, and ends it on a signal.
//!
//! SIGINT and SIGTERM alike begin the end; a second one cuts it short (A8). SIGHUP has the configuration read again.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::app::App;
use crate::config::{Settings, ShutdownMode};
use crate::exit::Failure;
use crate::logging;

/// Between two looks at what is to be done while nothing happens.
const HOUSE: Duration = Duration::from_secs(3600);

/// Runs until a signal ends it. `json`: so is its log, if nothing else is configured.
///
/// # Errors
/// It did not start, or not everything ended in time.
pub(crate) fn run(settings: Settings, json: bool) -> Result<u8, Failure> {
    let runtime = settings
        .runtime
        .executor()
        .thread_name("seawall")
        .build()
        .context("failed to start the threads of the daemon")?;
    let ended = runtime.block_on(async {
        let telemetry = logging::start(&settings, json)?;
        let ended = live(settings).await;
        if let Some(telemetry) = telemetry {
            telemetry.shutdown().await;
        }
        ended
    });
    // Everything is joined by now, or was given up by a second signal.
    runtime.shutdown_background();
    ended
}

async fn live(settings: Settings) -> Result<u8, Failure> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    // From the beginning: without a listener it would end the daemon.
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for signals")?;
    let app = tokio::select! {
        app = App::start(&settings) => app?,
        name = signals.next() => {
            info!(signal = name, "ended before it was ready");
            return Ok(0);
        }
    };
    ready(&settings, &app);
    let mut house = tokio::time::interval(HOUSE);
    house.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let name = loop {
        tokio::select! {
            // Cancel-safe, all: a signal that was not received stays pending.
            name = signals.next() => break name,
            _ = hangup.recv() => app.reload(),
            _ = house.tick() => app.keep_house(),
        }
    };
    let running = app.running();
    let mode = app.mode();
    info!(signal = name, sessions = running, "shutting down; a second signal cuts it short");
    let ended = tokio::select! {
        ended = app.shutdown() => ended,
        name = signals.next() => {
            warn!(signal = name, "cut short; what is not done is settled at the next start");
            return Ok(0);
        }
    };
    if mode == ShutdownMode::Leave && running > 0 {
        let sessions = if running == 1 { "1 session is".to_owned() } else { format!("{running} sessions are") };
        announce(&format!("{sessions} left running; the next `seawall serve` adopts them\n"));
    }
    match ended {
        Ok(()) => Ok(0),
        Err(error) => Err(Failure::Timeout(error.to_string())),
    }
}

fn ready(settings: &Settings, app: &App) {
    let (backends, running) = (app.backends(), app.running());
    let adopted = match running {
        0 => String::new(),
        1 => ", 1 session adopted".to_owned(),
        many => format!(", {many} sessions adopted"),
    };
    let tcp = app.url().map_or_else(String::new, |url| format!(" and {url}"));
    announce(&format!("ready on {}{tcp} ({backends} backends{adopted})\n", settings.socket.display()));
    info!(socket = %settings.socket.display(), tcp = app.url(), backends, sessions = running, "ready");
}

/// On standard output, for whoever started it. Nobody may be reading: that is no failure.
fn announce(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Cancel-safe, both: a signal that was not received stays pending.
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
