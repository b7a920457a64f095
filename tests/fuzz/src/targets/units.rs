//! What people write in a word: sizes, times, signals, names. What is read is written so that it reads the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use seawall_model::{BackendName, Cpus, RestartPolicy, SessionId, SessionName, Signal, Size, StoreId, Timestamp};

use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "units", longest: 256, tries: 2000, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    [
        "64MiB",
        "1.5GB",
        "16EiB",
        "18446744073709551615",
        "4096",
        "0.1k",
        "1.5",
        "100000",
        "0.001",
        "1e3",
        "2026-01-31T12:00:00.123Z",
        "9999-12-30T21:59:59Z",
        "2026-01-31T12:00:00+02:00[Europe/Berlin]",
        "1970-01-01T00:00:00Z",
        "SIGTERM",
        "kill",
        "rtmin+3",
        "64",
        "on-failure:5",
        "always",
        "never",
        "web-1.a_b",
        "docker",
        "0123456789abcdef",
        "89abcdef",
        "10m",
        "1y 2months 3days 4h 5m 6s 7ms 8us 9ns",
        "18446744073709551615s",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn reads<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            match written.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{text:?} was written {written:?}"),
                Err(error) => panic!("{text:?} was written {written:?}: {error}"),
            }
            Some(value)
        }
        Err(error) => {
            assert!(error.to_string().len() < text.len() * 12 + 512, "{error}");
            None
        }
    }
}

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads::<Size>(text);
    if let Some(cpus) = reads::<Cpus>(text) {
        assert!((1..=100_000_000).contains(&cpus.millis));
        let json = serde_json::to_string(&cpus).unwrap();
        assert_eq!(serde_json::from_str::<Cpus>(&json).unwrap(), cpus);
    }
    if let Some(time) = reads::<Timestamp>(text) {
        assert_eq!(Timestamp::from_millis(time.as_millis()), time);
    }
    if let Some(signal) = reads::<Signal>(text) {
        assert!((1..=64).contains(&signal.number()));
    }
    reads::<RestartPolicy>(text);
    let safe = |text: &str| !text.contains(['/', '\0', '\n', ' ']) && text != "." && text != "..";
    assert!(reads::<SessionName>(text).is_none_or(|name| safe(name.as_str())));
    assert!(reads::<BackendName>(text).is_none_or(|name| safe(name.as_str())));
    assert!(reads::<SessionId>(text).is_none_or(|id| safe(id.as_str()) && id.short().len() == 12));
    assert!(reads::<StoreId>(text).is_none_or(|id| safe(id.as_str())));
    let _ = seawall::outside::moment(text);
}
