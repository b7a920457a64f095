//! Where a path really lies, so that what is protected is known under whatever name.
//!
//! The same directory can be mounted at several places: then neither names nor links tell. The kernel's table of mounts
//! does: which file system, and where in it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

/// The first of `guarded` that `path` is, lies in or holds. With `below`, what is mounted below `path` is held too.
///
/// # Errors
/// The table of mounts cannot be read, or `path` is in none of them.
pub(crate) fn meets<'a>(
    path: &Path,
    below: bool,
    guarded: impl Iterator<Item = &'a Path>,
) -> io::Result<Option<&'a Path>> {
    let mounts = Mounts::read()?;
    let mut places = vec![mounts.place(path)?];
    if below {
        places.extend(mounts.0.iter().filter(|mount| mount.point.starts_with(path)).map(|mount| mount.root.clone()));
    }
    for kept in guarded {
        let real = real(kept);
        // By name as well: what is protected may come to be on another file system.
        let named = path.starts_with(&real) || real.starts_with(path);
        let place = mounts.place(&real)?;
        if named || places.iter().any(|other| other.overlaps(&place)) {
            return Ok(Some(kept));
        }
    }
    Ok(None)
}

/// A place in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Its numbers, as the kernel writes them.
    device: Vec<u8>,
    path: PathBuf,
}

impl Place {
    fn overlaps(&self, other: &Self) -> bool {
        self.device == other.device && (self.path.starts_with(&other.path) || other.path.starts_with(&self.path))
    }
}

struct Mount {
    id: Vec<u8>,
    /// What of its file system is mounted.
    root: Place,
    /// Where.
    point: PathBuf,
}

struct Mounts(Vec<Mount>);

impl Mounts {
    fn read() -> io::Result<Self> {
        let table = std::fs::read("/proc/self/mountinfo")?;
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ');
            let (id, _, device) = (fields.next()?, fields.next()?, fields.next()?);
            let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
            Some(Mount { id: id.to_vec(), root: Place { device: device.to_vec(), path: root }, point })
        };
        Ok(Self(table.split(|byte| *byte == b'\n').filter_map(mount).collect()))
    }

    /// Where a path without links in it lies, or would lie.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for there in path.ancestors() {
            let Ok(file) = openat(CWD, there, flags, Mode::empty()) else { continue };
            let told = std::fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
            let id = told.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
            let mount = id.and_then(|id| self.0.iter().find(|mount| mount.id == id.trim_ascii()));
            let within = mount.and_then(|mount| Some((mount, path.strip_prefix(&mount.point).ok()?)));
            if let Some((mount, rest)) = within {
                return Ok(Place { device: mount.root.device.clone(), path: mount.root.path.join(rest) });
            }
        }
        Err(io::Error::other("it is in no mount that the kernel tells of"))
    }
}

/// A path of the table, where blanks and the like are three octal digits.
fn unescape(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\');
        path.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    PathBuf::from(OsString::from_vec(path))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_mounts_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(br"/a\040b\134\011c"), Path::new("/a b\\\tc"));
        assert_eq!(unescape(br"/plain\04"), Path::new(r"/plain\04"));
    }

    #[test]
    fn a_path_that_is_not_there_lies_where_it_would() {
        let mounts = Mounts::read().unwrap();
        let dir = std::env::temp_dir().canonicalize().unwrap();
        let (there, absent) = (mounts.place(&dir).unwrap(), mounts.place(&dir.join("no/such")).unwrap());
        assert_eq!(absent, Place { path: there.path.join("no/such"), ..there });
    }
}
