//! The thread that drives the engine's epochs while calls wait for a core, so that those that have one yield it in time.
//!
//! While nobody waits it sleeps, and the daemon with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use wasmtime::EngineWeak;

use crate::cpu::Cpu;

/// Owns the thread. Dropping it ends and joins the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    cpu: Arc<Cpu>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(cpu: Arc<Cpu>, engine: EngineWeak) -> std::io::Result<Self> {
        let ticking = cpu.clone();
        let thread = std::thread::Builder::new().name("seawall-epoch".to_owned()).spawn(move || {
            while ticking.tick() {
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self { cpu, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread and waits for it. Calls that still run go on to yield by their fuel.
    pub(crate) fn stop(&self) {
        self.cpu.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the epoch thread panicked");
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}
