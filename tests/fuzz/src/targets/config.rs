//! `seawall.toml`: refused in words, or settings that are the same when they are written down and read again.

use seawall::outside::settings;

use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "config", longest: 4096, tries: 500, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    [
        "shutdown = \"stop\"\nshutdown-deadline = \"1m 30s\"\nsocket = \"s\"\nplugins-dir = \"p\"\n[log]\nfilter = \"info,seawall_control=debug\"\nformat = \"json\"\n",
        "[control]\nsweep-interval = \"5s\"\nmissing-percent = 30\n[control.check]\ninterval = \"10s\"\nfailures = 3\n[control.restart]\nfirst = \"1s\"\nmost = \"1m\"\n",
        "[runtime]\ntick = \"10ms\"\ncache = \"c\"\n[runtime.pool]\ncalls = 16\nmemory = \"64MiB\"\n[runtime.limits.all]\nfuel = 1_000_000\nmemory = \"16MiB\"\n[runtime.deadlines]\ncheck = \"2s\"\n",
        "[backend.docker]\ngrants.docker.host = \"unix:///run/docker.sock\"\ngrants.docker.mounts = [{ path = \"/srv\" }, { path = \"/x\", write = true }]\ngrants.docker.publish = [\"::\"]\nconfig.memory = \"512MiB\"\n[backend.mock]\nenabled = false\n",
        "[backend.eggs]\nplugin = \"example.wasm\"\ngrants.state = { bytes = \"1MiB\", keys = 10 }\nconfig = { a = 1.5, b = [nan, inf, 1979-05-27T07:32:00Z], c = { d = true } }\ndeadlines = { check = \"2s\", long = \"1h\" }\nlimits.check.fuel = 7\n[backend.process.grants.process]\nprograms = [\"/usr/bin\"]\nuser = \"nobody\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn run(input: &[u8]) {
    // A file that is not UTF-8 is refused when it is read.
    let Ok(text) = std::str::from_utf8(input) else { return };
    match settings(text) {
        Ok(written) => match settings(&written) {
            Ok(again) => assert_eq!(again, written, "read again, the settings are others"),
            Err(error) => panic!("the settings cannot be read again: {error}\n{written}"),
        },
        Err(error) => {
            assert!(!error.starts_with("THE EFFECTIVE"), "{error}");
            assert!(!error.is_empty() && error.len() < 16_384, "{} bytes of error", error.len());
        }
    }
}
