//! What an operator lets a backend do: which programs, where, as whom. `[backend.NAME.grants.process]`.
//!
//! An absent list means "any": with no configuration every program may run, as the unprivileged default user.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The grant of the `process` capability. Every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProcessGrant {
    /// Programs that may run: files, or directories whose files may run. Absent: every program.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub programs: Option<Vec<PathBuf>>,
    /// Directories that a session may name as its working directory, or lie beneath. Absent: every directory.
    /// The private directory that a session gets when it names none needs no grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub directories: Option<Vec<PathBuf>>,
    /// Whom sessions run as unless they say otherwise: `name`, `number` or either with `:group`. Absent: `nobody` for a
    /// daemon that is root; the daemon's own user otherwise, and then nothing else can be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whom else a session may ask to run as, each as in `user`; a group other than the user's own must be named here.
    /// root is never implied. Absent: nobody else.
    pub users: Vec<String>,
    /// Where a program named without a slash is looked for, and `PATH` of sessions that bring none.
    /// Absent: `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Variables that every session gets unless it sets them itself.
    pub env: std::collections::BTreeMap<String, String>,
}

impl ProcessGrant {
    /// The default of [`path`](Self::path).
    pub const PATH: &'static str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// Where programs are looked for.
    pub fn search_path(&self) -> &str {
        self.path.as_deref().unwrap_or(Self::PATH)
    }
}
