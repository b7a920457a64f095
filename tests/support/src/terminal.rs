//! A real terminal for a command: somebody types, and sees what it shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;

/// A terminal with a command in it, which ends with it.
pub struct Terminal {
    master: File,
    child: Child,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not yet looked for.
    screen: String,
    /// All of it, for whoever asks why a test failed.
    all: String,
}

impl Terminal {
    /// Runs the command in a terminal of 80 by 24.
    ///
    /// # Errors
    /// There is no terminal, or the command cannot be started.
    pub fn run(command: &Command) -> Result<Self> {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("open a terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        tcsetwinsize(&master, size(80, 24))?;
        let slave = File::options().read(true).write(true).open(name.to_str()?)?;
        // It makes the terminal the command's own, as a login does.
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env_clear();
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                setsid.env(key, value);
            }
        }
        setsid.env("TERM", "xterm").stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = setsid.spawn().context("start setsid, of util-linux")?;
        drop(setsid);
        let master = File::from(master);
        let (mut reader, (to, shown)) = (master.try_clone()?, mpsc::channel());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal that nobody has open any more says EIO.
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                if to.send(piece.get(..length).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { master, child, shown, screen: String::new(), all: String::new() })
    }

    /// Presses keys.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("type")
    }

    /// Makes it larger or smaller.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        tcsetwinsize(&self.master, size(columns, rows)).context("resize the terminal")
    }

    /// Waits until this is shown, and goes on behind it: what was shown before is not looked at again.
    ///
    /// # Errors
    /// It is not shown.
    pub fn see(&mut self, text: &str) -> Result<()> {
        self.see_one_of(&[text]).map(drop)
    }

    /// The same of several, and which of them is shown first.
    ///
    /// # Errors
    /// None is shown.
    pub fn see_one_of(&mut self, texts: &[&str]) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found =
                texts.iter().enumerate().filter_map(|(which, text)| Some((self.screen.find(text)?, which, text)));
            if let Some((at, which, text)) = found.min() {
                self.screen.drain(..at + text.len());
                return Ok(which);
            }
            match self.shown.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(piece) => self.take(&piece),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("none of {texts:?} is shown within {PATIENCE:?}, but {:?}", self.all)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("it ended without any of {texts:?}, but {:?}", self.all),
            }
        }
    }

    fn take(&mut self, piece: &[u8]) {
        let text = String::from_utf8_lossy(piece);
        self.screen.push_str(&text);
        self.all.push_str(&text);
    }

    /// Waits until the command ends, and gives how, and what it showed in all.
    ///
    /// # Errors
    /// It does not end.
    pub fn ended(mut self) -> Result<(ExitStatus, String)> {
        let until = Instant::now() + PATIENCE;
        while let Ok(piece) = self.shown.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.take(&piece);
        }
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, std::mem::take(&mut self.all)));
            }
            if Instant::now() >= until {
                bail!("it has not ended within {PATIENCE:?}, and shows {:?}", self.all);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process in it, or the one that waits for it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is no failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
