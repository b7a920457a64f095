//! The cache of compiled plugins: what is in it is never trusted, and what is wrong in it is made anew.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use seawall_integration::{home, run};

/// The compiled plugins, largest first.
fn compiled(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let length = entry.metadata()?.len();
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if length > 10_000 {
                found.push((length, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().rev().map(|(_, path)| path).collect())
}

/// Of the entry of one plugin, and that of another, what the first is replaced by.
type Damage = fn(&[u8], &[u8]) -> Vec<u8>;

#[test]
fn a_damaged_truncated_or_foreign_entry_is_compiled_anew() -> Result<()> {
    let home = home("[backend.docker]\nenabled = false\n")?;
    let own = home.dir().join("own-cache");
    let home = home.with_cache(&own);
    home.serve(true)?.terminate()?;
    let files = compiled(home.cache_dir())?;
    assert_eq!(files.len(), 2, "{files:?}");
    let good: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;

    let damages: [(&str, Damage); 4] = [
        ("one bit is flipped", |good, _| {
            let mut bytes = good.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("its end is missing", |good, _| good[..good.len() / 3].to_vec()),
        ("it is empty", |_, _| Vec::new()),
        ("it is the entry of the other plugin", |_, other| other.to_vec()),
    ];
    for (what, damage) in damages {
        for (at, file) in files.iter().enumerate() {
            fs::write(file, damage(&good[at], &good[1 - at]))?;
        }
        let daemon = home.serve(true)?;
        run(&home, &["--backend", "mock", "--name", "works"])?;
        home.ok(&["rm", "--force", "works"])?;
        daemon.terminate()?;
        for (at, file) in files.iter().enumerate() {
            let now = fs::read(file)?;
            assert_eq!(now.len(), good[at].len(), "{what}: {} was not made anew", file.display());
        }
    }
    Ok(())
}

#[test]
fn a_second_start_is_served_from_the_cache() -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    let home = home("")?;
    let own = home.dir().join("own-cache");
    let home = home.with_cache(&own);
    home.serve(true)?.terminate()?;
    // An entry that is made anew is another file under the same name.
    let inodes = |files: &[PathBuf]| files.iter().map(|file| Ok(fs::metadata(file)?.ino())).collect::<Result<Vec<_>>>();
    let files = compiled(home.cache_dir())?;
    let before = inodes(&files)?;
    home.serve(true)?.terminate()?;
    assert_eq!(inodes(&compiled(home.cache_dir())?)?, before, "something was compiled again");
    assert_eq!(fs::metadata(home.cache_dir())?.permissions().mode() & 0o077, 0, "others can read the cache");
    Ok(())
}
