//! Opening what must be a plain file.
//!
//! Where sessions run as the daemon's own user, one can put anything in the place of its records and its log. A fifo
//! would hold up whoever opens it for ever, a device do worse, and a link lead elsewhere.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open as open_file};
use rustix::io::Errno;

/// Opens a file to be read.
///
/// # Errors
/// `NotFound`; `InvalidData` for a link, a fifo, a directory, anything that is no plain file.
pub fn open(path: &Path) -> io::Result<File> {
    let no = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} is {what}", path.display()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open_file(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(no("a link")),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(no("no plain file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_file_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(open(&at("file")).is_ok());
        assert_eq!(open(&at("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        for name in ["link", "fifo"] {
            assert_eq!(open(&at(name)).unwrap_err().kind(), io::ErrorKind::InvalidData, "{name}");
        }
        for path in [at("socket"), at("."), "/dev/zero".into()] {
            assert!(open(&path).is_err(), "{}", path.display());
        }
    }
}
