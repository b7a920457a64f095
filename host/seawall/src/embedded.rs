//! The bytes of plugins: from a folder where one is named, else from the binary, else there are none.

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

/// What is no plugin is larger than this; the largest guests of other languages have 20 MB.
const MAX_BYTES: u64 = 256 << 20;

impl Found {
    /// The bytes. Blocks on the file.
    ///
    /// # Errors
    /// The file cannot be read, or is too large.
    pub(crate) fn read(&self) -> std::io::Result<std::borrow::Cow<'static, [u8]>> {
        match self {
            Self::Here(bytes) => Ok((*bytes).into()),
            Self::File(path) => {
                let about = std::fs::metadata(path)?;
                if !about.is_file() {
                    return Err(std::io::Error::other("it is no file"));
                }
                if about.len() > MAX_BYTES {
                    return Err(std::io::Error::other("it is larger than 256 MiB"));
                }
                Ok(std::fs::read(path)?.into())
            }
        }
    }
}
