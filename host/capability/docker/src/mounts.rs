//! Which files of the host a container may see.
//!
//! The source of a bind mount is walked by the kernel beneath a granted root (openat2 with `RESOLVE_BENEATH`), so no
//! link leads out of it, and Docker is given the path that this walk arrived at, which has no link in it. What stands
//! there when Docker mounts it is what is mounted: a root in which sessions can rename is not to be granted.
//!
//! Neither the protected paths nor anything that holds one can be mounted, nor a socket or device. A mount that is
//! only read is not recursive: Docker makes the mounts below it writable otherwise.

use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use bollard::models::{
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, stat};
use rustix::io::Errno;
use seawall_model::{Mount, MountSource};

use crate::config::Refusals;
use crate::endpoint::Endpoint;
use crate::grant::DockerGrant;

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
    let roots: Vec<Root> = grant
        .mounts
        .iter()
        .filter_map(|mount| Some(Root { path: mount.path.canonicalize().ok()?, write: mount.write }))
        .collect();
    // As it is granted, or as it is on the disk.
    let beneath = grant.mounts.iter().filter_map(|mount| {
        let rest = source.strip_prefix(&mount.path).ok()?;
        Some((mount.path.canonicalize().ok()?, rest))
    });
    let direct = roots.iter().filter_map(|root| Some((root.path.clone(), source.strip_prefix(&root.path).ok()?)));
    let Some((root, rest)) = beneath.chain(direct).max_by_key(|(root, _)| root.as_os_str().len()) else {
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

    // The most specific root decides, for what the walk arrived at and for what lies below it.
    let decides =
        roots.iter().filter(|root| path.starts_with(&root.path)).max_by_key(|root| root.path.as_os_str().len());
    let below = roots.iter().any(|root| !root.write && root.path.starts_with(&path) && root.path != path);
    if !read_only && (below || !decides.is_some_and(|root| root.write)) {
        return Err(Refusal::Denied(format!(
            "{shown} is granted to be read only: add `write = true` to its `mounts` entry"
        )));
    }
    if let Some(kept) = guarded(&path, protected, endpoint) {
        return Err(Refusal::Denied(format!(
            "{shown} is, holds or lies in {}, which is never given away",
            kept.display()
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

/// The protected path that `path` is, lies in or holds, under whatever name.
fn guarded(path: &Path, protected: &[PathBuf], endpoint: &Endpoint) -> Option<PathBuf> {
    let own = match endpoint {
        Endpoint::Unix(socket) => Some(socket.clone()),
        Endpoint::Tcp(_) => None,
    };
    let sockets = SOCKETS.iter().map(PathBuf::from);
    protected.iter().cloned().chain(own).chain(sockets).find(|kept| {
        let real = real(kept);
        // The same directory may be mounted elsewhere too: then the names differ and the inode does not.
        let inode = stat(&real).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let within = |part: &Path| inode.is_some() && stat(part).ok().map(|stat| (stat.st_dev, stat.st_ino)) == inode;
        path.starts_with(&real) || real.starts_with(path) || path.ancestors().any(within)
    })
}

/// The path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}
