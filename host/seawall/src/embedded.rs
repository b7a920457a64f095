//! The bytes of plugins: from a folder where one is named, else from the binary, else there are none.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::PluginSource;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Where a plugin's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// In the binary.
    Here(&'static [u8]),
    /// In a file, not read yet.
    File(PathBuf),
}

/// Finds a plugin. `None`: it is a built-in one that this binary does not carry.
pub(crate) fn find(source: &PluginSource, folder: Option<&Path>) -> Option<Found> {
    match (source, folder) {
        (PluginSource::File(path), _) => Some(Found::File(path.clone())),
        (PluginSource::BuiltIn(name), Some(folder)) => Some(Found::File(folder.join(format!("{name}.wasm")))),
        (PluginSource::BuiltIn(name), None) => {
            EMBEDDED.iter().find(|(known, _)| known == name).map(|(_, bytes)| Found::Here(bytes))
        }
    }
}

/// One byte more than the runtime takes, so that it is the runtime that says how much a plugin may have.
const MAX_BYTES: u64 = (64 << 20) + 1;

impl Found {
    /// The bytes. Blocks on the file.
    ///
    /// # Errors
    /// The file cannot be read, or is too large.
    pub(crate) fn read(&self) -> std::io::Result<std::borrow::Cow<'static, [u8]>> {
        match self {
            Self::Here(bytes) => Ok((*bytes).into()),
            Self::File(path) => {
                // Opening a pipe would wait for a writer.
                let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
                let file = File::options().read(true).custom_flags(flags).open(path)?;
                if !file.metadata()?.is_file() {
                    return Err(std::io::Error::other("it is no file"));
                }
                let mut bytes = Vec::new();
                file.take(MAX_BYTES).read_to_end(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }
}
