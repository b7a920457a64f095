//! Finding a Rust that compiles for WebAssembly, and calling it.
//!
//! Two ways. rustup's target is what most people have, or get in seconds. Where it cannot be downloaded, Debian's Rust
//! for its browsers (`rustc-web`) builds the standard library from source; it stands beside rustup and takes a minute
//! longer, once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{say, workspace};

const TARGET: &str = "wasm32-unknown-unknown";

/// What the second way takes. `lld-22` is the linker that `rust-lld` stands for there.
const DEBIAN: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-22"];

/// A small stack: resetting the linear memory between calls dominates the price of a fresh instance.
const STACK: &str = "-Clink-arg=-zstack-size=65536";

/// What guests are compiled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The Rust that runs this, with its target for WebAssembly.
    Rustup,
    /// Debian's own, building the standard library from source.
    Debian,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rustup => "rustup's target wasm32-unknown-unknown",
            Self::Debian => "Debian's rustc-web, which builds the standard library first (about a minute, once)",
        })
    }
}

impl Toolchain {
    /// The first that is there or can be installed.
    pub(crate) fn find(force_debian: bool) -> Result<Self> {
        if !force_debian {
            if has_target() {
                return Ok(Self::Rustup);
            }
            say::note(format_args!("installing what compiles guests: rustup target add {TARGET}"));
            let added = Command::new("rustup").args(["target", "add", TARGET]).status();
            if added.is_ok_and(|status| status.success()) && has_target() {
                return Ok(Self::Rustup);
            }
            say::warn("rustup could not add the target; going on with Debian's toolchain");
        }
        install_debian()?;
        Ok(Self::Debian)
    }

    /// Compiles every guest to a core module.
    pub(super) fn build(self, root: &Path) -> Result<Built> {
        let folder = self.folder(root, "plugins");
        let mut cargo = self.cargo(root, "plugins")?;
        cargo.args(["build", "--release", "--locked", "--workspace", "--lib", "--examples", "--target", TARGET]);
        if !say::on_terminal() {
            cargo.arg("--quiet");
            say::note("cargo build --release --target wasm32-unknown-unknown, in plugins/ ...");
        }
        workspace::run(&mut cargo, "building the guests")?;
        Ok(Built { folder: folder.join(TARGET).join("release") })
    }

    /// Where the builds of a workspace of guests go.
    fn folder(self, root: &Path, workspace: &str) -> PathBuf {
        // A target folder that outlives the checkout serves guests too.
        let folder = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(shared) => root.join(shared).join("guests"),
            None => root.join(workspace).join("target"),
        };
        match self {
            Self::Rustup => folder,
            Self::Debian => folder.join("debian"),
        }
    }

    /// Cargo in a workspace of guests, set up to compile for [`TARGET`].
    fn cargo(self, root: &Path, workspace: &str) -> Result<Command> {
        let mut cargo = match self {
            Self::Rustup => workspace::cargo()?,
            Self::Debian => Command::new("/usr/bin/cargo"),
        };
        cargo.current_dir(root.join(workspace)).env("CARGO_TARGET_DIR", self.folder(root, workspace));
        // Flags meant for the host's code, such as a linker of its own, do not fit guests.
        for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(name);
        }
        // Where the sources lie on this machine is nobody's business: panic messages name files.
        let mut flags = vec![STACK.to_owned(), format!("--remap-path-prefix={}=seawall", root.display())];
        if let Some(home) = cargo_home() {
            flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        if self == Self::Debian {
            cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
            for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "CARGO"] {
                cargo.env_remove(name);
            }
        }
        Ok(cargo)
    }

    /// Compiles the library of one package of a workspace of guests, in its profile `guest`, and gives the core module.
    pub(crate) fn compile(self, root: &Path, workspace: &str, package: &str, features: &[&str]) -> Result<PathBuf> {
        let mut cargo = self.cargo(root, workspace)?;
        cargo.args(["build", "--profile", "guest", "--locked", "--quiet", "--lib", "--target", TARGET]);
        cargo.args(["--package", package, "--features", &features.join(",")]);
        workspace::run(&mut cargo, &format!("building {package}"))?;
        let module = package.replace('-', "_");
        Ok(self.folder(root, workspace).join(TARGET).join("guest").join(module).with_extension("wasm"))
    }
}

/// Where core modules lie.
pub(super) struct Built {
    folder: PathBuf,
}

impl Built {
    /// The module of a plugin's library.
    pub(super) fn plugin(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("wasm")
    }

    /// The module of an example of `tests/fixtures`.
    pub(super) fn fixture(&self, name: &str) -> PathBuf {
        self.folder.join("examples").join(name.replace('-', "_")).with_extension("wasm")
    }
}

fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))
}

/// Whether the Rust that cargo uses here has a standard library for the target.
fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(folder.trim()).is_dir()
    })
}

fn install_debian() -> Result<()> {
    let missing: Vec<_> = DEBIAN.into_iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let manual = format!(
        "guests cannot be compiled: install a Rust for WebAssembly by `rustup target add {TARGET}`, \
         or on Debian, as root, by `{line}`"
    );
    ensure!(rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists(), manual);
    say::note(format_args!("installing Debian's Rust, which compiles guests: {line}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        workspace::run(&mut command, "apt-get")
    };
    let install: Vec<_> = line.split(' ').skip(1).collect();
    apt(&["update", "-q"]).and_then(|()| apt(&install)).context(manual)
}

fn installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
