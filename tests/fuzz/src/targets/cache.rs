//! A file of the compiled cache that was changed is never run: whatever was changed in it, the plugin is compiled anew
//! and the file is put right. The input is changes: four bytes where, one byte how; or a length to cut the file to.

use std::path::PathBuf;

use seawall_backend::ExecutionBackend as _;
use seawall_runtime::{Runtime, RuntimeConfig};

use super::guest::{Guest, executor, plugin, runtime};
use crate::pieces::Bytes;
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "cache", longest: 64, tries: 20, seeds, make };

fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 0, 1],
        vec![0, 0, 0, 31, 0x80],
        vec![0, 0, 0, 32, 1, 0, 0, 1, 0, 255],
        vec![0xff, 0xff, 0xff, 0xff, 0],
        vec![0, 0, 0, 64, 0],
    ]
}

fn make() -> Run {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let (executor, runtime) =
        (executor(), runtime(RuntimeConfig { cache: Some(cache.clone()), ..RuntimeConfig::default() }));
    let component = Guest::new().component().into_owned();
    executor.block_on(load(&runtime, &component));
    let code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "code");
    let file = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).find(code).unwrap();
    let good = std::fs::read(&file).unwrap();
    Box::new(move |input| {
        // The folder goes when this does.
        let _ = &dir;
        let bad = changed(&good, input);
        std::fs::write(&file, &bad).unwrap();
        executor.block_on(load(&runtime, &component));
        assert!(std::fs::read(&file).unwrap() == good, "a file that was changed was taken");
    })
}

fn changed(good: &[u8], input: &[u8]) -> Vec<u8> {
    let mut bad = good.to_vec();
    let mut input = Bytes(input);
    while !input.is_empty() && !bad.is_empty() {
        let (at, how) = (usize::try_from(input.word()).unwrap() % bad.len(), input.byte());
        match how {
            0 => bad.truncate(at),
            how => bad[at] ^= how,
        }
    }
    bad
}

async fn load(runtime: &Runtime, component: &[u8]) {
    let backend = runtime.load_ungranted(plugin(component.to_vec())).await.unwrap();
    assert_eq!(backend.info().name, "test");
}
