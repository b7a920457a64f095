//! Which files of the host a container may see.
//!
//! The source of a bind mount is walked by the kernel beneath a granted root (openat2 with `RESOLVE_BENEATH`), so no
//! link leads out of it, and Docker is given the path that this walk arrived at, which has no link in it. What stands
//! there when Docker mounts it, at the start, is what is mounted: so nothing is mounted from within a directory that a
//! session may have been given to write, where it could have put a link meanwhile.
//!
//! Neither the protected paths nor anything that holds one can be mounted, under whatever name, nor a socket or device.
//! A mount that is only read is not recursive: Docker makes the mounts below it writable otherwise. One that is written
//! is, and what is mounted below it is looked at too.
//!
//! Deliberately not looked for: a hard link to a protected file. Only root can have made one.

use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use bollard::models::{
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use seawall_model::{Mount, MountSource};

use crate::config::Refusals;
use crate::endpoint::Endpoint;
use crate::grant::{DockerGrant, directory};
use crate::guard;

/// Sockets that are as good as root, wherever this Engine's own is.
const SOCKETS: [&str; 5] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
];

/// The mounts in Docker's words. What cannot be, is added to `refusals`.
pub(crate) fn resolve(
    mounts: &[Mount],
    grant: &DockerGrant,
    protected: &[PathBuf],
    endpoint: &Endpoint,
    refusals: &mut Refusals,
) -> Vec<DockerMount> {
    let mut resolved = Vec::with_capacity(mounts.len());
    for (at, mount) in mounts.iter().enumerate() {
        let field = |part: &str| format!("mounts[{at}].{part}");
        if let Err(message) = check_target(&mount.target) {
            refusals.invalid(field("target"), message);
        }
        if mounts.iter().take(at).any(|earlier| same(&earlier.target, &mount.target)) {
            refusals.invalid(field("target"), "another mount has the same target");
        }
        if !mount.options.is_empty() {
            refusals.invalid(field("options"), "a mount of a container has no options of its own");
        }
        let mut made = DockerMount {
            target: Some(mount.target.clone()),
            read_only: Some(mount.read_only),
            ..DockerMount::default()
        };
        match &mount.source {
            MountSource::Bind(source) => {
                match bind(Path::new(source), mount.read_only, grant, protected, endpoint) {
                    Ok(path) => made.source = Some(path),
                    Err(Refusal::Invalid(message)) => refusals.invalid(field("source"), message),
                    Err(Refusal::Denied(message)) => refusals.denied(&field("source"), &message),
                }
                made.typ = Some(MountType::BIND);
                made.bind_options = Some(MountBindOptions {
                    propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                    non_recursive: Some(mount.read_only),
                    ..MountBindOptions::default()
                });
            }
            MountSource::Volume(name) => {
                if !grant.volumes {
                    refusals.denied(&field("source"), "volumes are not granted: set `volumes = true`");
                }
                if !is_volume_name(name) {
                    refusals.invalid(field("source"), "a volume's name has 2 to 255 characters of a-z A-Z 0-9 _ . -");
                }
                made.source = Some(name.clone());
                made.typ = Some(MountType::VOLUME);
                let driver = MountVolumeOptionsDriverConfig { name: Some("local".to_owned()), options: None };
                made.volume_options =
                    Some(MountVolumeOptions { driver_config: Some(driver), ..MountVolumeOptions::default() });
            }
            MountSource::Tmpfs(size) => {
                let bytes = size.map(|size| i64::try_from(size.0).ok().filter(|bytes| *bytes > 0));
                if bytes == Some(None) {
                    refusals.invalid(field("source"), "a size of at least 1 byte");
                }
                made.typ = Some(MountType::TMPFS);
                made.tmpfs_options =
                    Some(MountTmpfsOptions { size_bytes: bytes.flatten(), ..MountTmpfsOptions::default() });
            }
        }
        resolved.push(made);
    }
    resolved
}

enum Refusal {
    Invalid(String),
    Denied(String),
}

fn check_target(target: &str) -> Result<(), &'static str> {
    let path = Path::new(target);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && path.components().count() > 1 && !target.contains('\0') && target.len() <= 4096 {
        Ok(())
    } else {
        Err("an absolute path in the container, without `..`, other than /")
    }
}

fn same(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}

fn is_volume_name(name: &str) -> bool {
    (2..=255).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A granted root as it is on the disk.
struct Root {
    path: PathBuf,
    write: bool,
    /// Only what lies in it is granted.
    each: bool,
}

impl Root {
    fn grants(&self, path: &Path) -> bool {
        path.starts_with(&self.path) && !(self.each && path == self.path)
    }
}

/// Whether a session may be given this to write. The most specific root decides, for the path and for what lies below.
fn writable(path: &Path, roots: &[Root]) -> bool {
    let decides = roots.iter().filter(|root| root.grants(path)).max_by_key(|root| root.path.as_os_str().len());
    let read_below = roots.iter().any(|root| !root.write && root.path.starts_with(path) && root.path != path);
    decides.is_some_and(|root| root.write) && !read_below
}

fn bind(
    source: &Path,
    read_only: bool,
    grant: &DockerGrant,
    protected: &[PathBuf],
    endpoint: &Endpoint,
) -> Result<String, Refusal> {
    let shown = source.display();
    let plain = source.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !source.is_absolute() || !plain || source.as_os_str().len() > 4096 || source.to_string_lossy().contains('\0') {
        return Err(Refusal::Invalid(format!("{shown} must be an absolute path of the host, without `..`")));
    }
    if !endpoint.is_local() {
        return Err(Refusal::Denied(format!("{endpoint} is another machine, whose files cannot be checked from here")));
    }
    let granted = grant.mounts.iter().map(|mount| (directory(&mount.path), mount.write));
    let roots: Vec<Root> = granted
        .clone()
        .filter_map(|((path, each), write)| Some(Root { path: path.canonicalize().ok()?, write, each }))
        .collect();
    // As it is granted, or as it is on the disk.
    let beneath = granted.filter_map(|((path, each), _)| {
        let rest = source.strip_prefix(path).ok()?;
        Some((path.canonicalize().ok()?, rest, each))
    });
    let direct =
        roots.iter().filter_map(|root| Some((root.path.clone(), source.strip_prefix(&root.path).ok()?, root.each)));
    let beneath = beneath.chain(direct).filter(|(_, rest, each)| !(*each && rest.as_os_str().is_empty()));
    let Some((root, rest, _)) = beneath.max_by_key(|(root, ..)| root.as_os_str().len()) else {
        return Err(Refusal::Denied(format!("{shown} lies under no granted directory: add it to `mounts`")));
    };
    let path = walk(&root, rest).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => Refusal::Invalid(format!("{shown} does not exist on the host")),
        Errno::XDEV | Errno::LOOP => {
            Refusal::Denied(format!("{shown} leads by a link out of the granted directory {}", root.display()))
        }
        error => Refusal::Invalid(format!("{shown} cannot be looked at: {error}")),
    })?;
    let Some(path) = path else {
        return Err(Refusal::Denied(format!(
            "{shown} is neither a directory nor a file; sockets and devices are not given"
        )));
    };

    if !roots.iter().any(|root| root.grants(&path)) {
        return Err(Refusal::Denied(format!("{shown} leads to a directory of which only what lies in it is granted")));
    }
    if !read_only && !writable(&path, &roots) {
        return Err(Refusal::Denied(format!(
            "{shown} is granted to be read only: add `write = true` to its `mounts` entry"
        )));
    }
    let own = match endpoint {
        Endpoint::Unix(socket) => Some(socket.as_path()),
        Endpoint::Tcp(_) => None,
    };
    let guarded = protected.iter().map(PathBuf::as_path).chain(own).chain(SOCKETS.iter().map(Path::new));
    match guard::meets(&path, !read_only, guarded) {
        Ok(None) => {}
        Ok(Some(kept)) => {
            let kept = kept.display();
            return Err(Refusal::Denied(format!("{shown} is, holds or lies in {kept}, which is never given away")));
        }
        Err(error) => return Err(Refusal::Denied(format!("nobody can say where {shown} lies: {error}"))),
    }
    if let Some(above) = path.ancestors().skip(1).find(|above| writable(above, &roots)) {
        let above = above.display();
        return Err(Refusal::Denied(format!(
            "{shown} lies in {above}, in which sessions may write and could put another in its place: mount {above}, or \
             grant `{above}/*` in its stead"
        )));
    }
    path.into_os_string().into_string().map_err(|_| Refusal::Invalid(format!("{shown} is not UTF-8")))
}

/// Where the walk beneath the root arrives; `None` for what is neither a directory nor a file.
fn walk(root: &Path, rest: &Path) -> Result<Option<PathBuf>, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let base = openat2(CWD, root, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let target = if rest.as_os_str().is_empty() {
        base
    } else {
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&base, rest, flags, Mode::empty(), within)?
    };
    let kind = FileType::from_raw_mode(fstat(&target)?.st_mode);
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Ok(None);
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd())).map_err(|_| Errno::NOENT)?;
    // A file that was removed meanwhile has ` (deleted)` behind its path.
    if path.exists() { Ok(Some(path)) } else { Err(Errno::NOENT) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::grant::MountGrant;

    /// The place of a test that runs once more, in a mount namespace of its own.
    const INSIDE: &str = "SEAWALL_TEST_MOUNTS";

    struct Place {
        dir: PathBuf,
        mounts: Vec<MountGrant>,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("seawall-mounts-{name}-{}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            Self { dir: dir.canonicalize().unwrap(), mounts: Vec::new() }
        }

        /// One that somebody else made and removes.
        fn lent(dir: PathBuf) -> std::mem::ManuallyDrop<Self> {
            std::mem::ManuallyDrop::new(Self { dir, mounts: Vec::new() })
        }

        fn directory(&self, name: &str) -> PathBuf {
            fs::create_dir_all(self.dir.join(name)).unwrap();
            self.dir.join(name)
        }

        fn grant(&mut self, name: &str, write: bool) {
            self.mounts.push(MountGrant { path: self.dir.join(name), write });
        }

        /// Whether it can be mounted, or why not. `data` is protected.
        fn ask(&self, name: &str, read_only: bool) -> Result<String, String> {
            let grant = DockerGrant { mounts: self.mounts.clone(), ..DockerGrant::default() };
            let endpoint = Endpoint::Unix(self.dir.join("engine/docker.sock"));
            match bind(&self.dir.join(name), read_only, &grant, &[self.dir.join("keep/data")], &endpoint) {
                Ok(path) => Ok(path),
                Err(Refusal::Invalid(message) | Refusal::Denied(message)) => Err(message),
            }
        }

        fn refuses(&self, name: &str, read_only: bool, why: &str) {
            let message = self.ask(name, read_only).unwrap_err();
            assert!(message.contains(why), "{name}: {message}");
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn nothing_is_mounted_from_within_what_sessions_may_write() {
        let mut place = Place::new("within");
        for dir in ["whole/sub", "jobs/a/b", "read/sub", "mixed/kept", "mixed/sub/deep"] {
            place.directory(dir);
        }
        place.grant("whole", true);
        place.grant("jobs/*", true);
        place.grant("read", false);
        place.grant("mixed", true);
        place.grant("mixed/kept", false);
        for (name, read_only) in [
            ("whole", false),
            ("whole", true),
            ("jobs/a", false),
            ("jobs/a", true),
            ("read", true),
            ("read/sub", true),
            ("mixed", true),
            ("mixed/kept", true),
            ("mixed/sub", false),
        ] {
            assert_eq!(place.ask(name, read_only), Ok(place.dir.join(name).display().to_string()), "{name}");
        }
        for (name, why) in [
            ("whole/sub", "grant `"),
            ("jobs/a/b", "could put another in its place"),
            ("mixed/sub/deep", "could put another in its place"),
            ("jobs", "lies under no granted directory"),
            ("jobs/absent", "does not exist"),
        ] {
            place.refuses(name, true, why);
            place.refuses(name, false, why);
        }
        place.refuses("mixed", false, "read only");
        place.refuses("mixed/kept", false, "read only");
        // By a link, to the directory of which only what lies in it is granted.
        std::os::unix::fs::symlink(".", place.dir.join("jobs/self")).unwrap();
        place.refuses("jobs/self", true, "only what lies in it");
    }

    #[test]
    fn a_protected_directory_is_not_given_away_under_another_name() {
        let Some(inside) = std::env::var_os(INSIDE) else {
            if !rustix::process::geteuid().is_root() {
                eprintln!("SKIPPED: this test needs root, to mount");
                return;
            }
            // What is mounted goes with the namespace, however the test ends.
            let (place, own) = (Place::new("alias"), std::env::current_exe().unwrap());
            let name = "mounts::tests::a_protected_directory_is_not_given_away_under_another_name";
            let mut again = Command::new("unshare");
            again.args(["--mount", "--"]).arg(own).args(["--exact", name]).env(INSIDE, &place.dir);
            let output = again.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            return;
        };
        let mut place = Place::lent(inside.into());
        for dir in ["keep/data/deep", "engine", "srv/alias", "srv/free", "srv/sub/mo unt", "srv/plain", "other"] {
            place.directory(dir);
        }
        fs::write(place.dir.join("srv/file"), "").unwrap();
        fs::write(place.dir.join("keep/data/file"), "").unwrap();
        place.grant("srv", false);
        place.grant("srv/sub", true);
        let mount = |what: &str, at: &str| {
            let done = Command::new("mount").arg("--bind").args([place.dir.join(what), place.dir.join(at)]).status();
            assert!(done.unwrap().success(), "{what} at {at}");
        };
        mount("other", "srv/plain");
        mount("keep", "srv/alias");
        assert!(place.ask("srv/plain", true).is_ok() && place.ask("srv/free", true).is_ok());
        // The directory that holds it, itself, and what lies in it.
        for name in ["srv/alias", "srv/alias/data", "srv/alias/data/deep", "srv/alias/data/file"] {
            place.refuses(name, true, "never given away");
        }
        // What only is read shows nothing that is mounted below it; what is written does.
        assert!(place.ask("srv", true).is_ok());
        assert!(place.ask("srv/sub", false).is_ok());
        mount("other", "srv/sub/mo unt");
        assert!(place.ask("srv/sub", false).is_ok());
        mount("keep", "srv/sub/mo unt");
        assert!(place.ask("srv/sub", true).is_ok());
        place.refuses("srv/sub", false, "never given away");
        // The Engine's socket, before it is there.
        mount("engine", "srv/free");
        place.refuses("srv/free", true, "never given away");
        mount("keep/data/file", "srv/file");
        place.refuses("srv/file", true, "never given away");
    }
}
