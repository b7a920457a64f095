//! What one call may take from the host besides fuel and memory: a number of host calls, and a number of bytes that
//! cross the boundary. wasmtime bounds one crossing (its hostcall fuel); this bounds their sum.

/// What is left to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Calls of host functions.
    pub calls: u64,
    /// Bytes of arguments and answers of host functions.
    pub bytes: u64,
    /// Bytes written to the log. What exceeds this is dropped and counted; it ends no call.
    pub log_bytes: u64,
    /// Host resources held at one time.
    pub resources: usize,
}

/// A bound that a guest broke. The call ends with a trap that carries this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Too many calls.
    #[error("made more calls to the host than one call may")]
    Calls,
    /// Too many bytes.
    #[error("moved more bytes to and from the host than one call may")]
    Bytes,
    /// Too many streams.
    #[error("held more host resources than one call may")]
    Resources,
    /// Not while `describe` runs.
    #[error("used {0} in `describe`, where only `log` and `clock` answer")]
    NotNow(&'static str),
}

impl Budget {
    /// Counts one host call.
    pub(crate) fn call(&mut self) -> Result<(), Breach> {
        self.calls = self.calls.checked_sub(1).ok_or(Breach::Calls)?;
        Ok(())
    }

    /// Counts bytes that cross.
    pub(crate) fn bytes(&mut self, bytes: usize) -> Result<(), Breach> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Breach::Bytes)?;
        Ok(())
    }
}
