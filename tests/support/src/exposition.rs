//! Reads the OpenMetrics text format strictly, for tests: whatever a scraper may stumble over is an error here.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/> and, for the names, <https://prometheus.io/docs/practices/naming/>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// A metric and all its samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// `gauge`, `counter` or `histogram`.
    pub kind: String,
    /// Its unit, if it has one.
    pub unit: Option<String>,
    /// What it is.
    pub help: String,
    /// By the sample's name and labels, in the order written.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// With the suffix, such as `_total`.
    pub name: String,
    /// By name.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Reads an exposition: its families by name.
///
/// # Errors
/// The first line that is not as it must be, and why.
pub fn read(text: &str) -> Result<BTreeMap<String, Family>> {
    let body = text.strip_suffix("# EOF\n").context("it does not end with # EOF")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in body.lines() {
        let read = match line.strip_prefix("# ") {
            Some(metadata) => describe(&mut families, &mut current, metadata),
            None => measure(&mut families, current.as_deref(), line),
        };
        read.with_context(|| format!("in the line {line:?}"))?;
    }
    for (name, family) in &families {
        whole(name, family).with_context(|| format!("of the family {name}"))?;
    }
    Ok(families)
}

fn describe(families: &mut BTreeMap<String, Family>, current: &mut Option<String>, metadata: &str) -> Result<()> {
    let mut words = metadata.splitn(3, ' ');
    let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
        bail!("it is neither TYPE, UNIT nor HELP of a family")
    };
    name_is_good(name)?;
    if current.as_deref() != Some(name) {
        ensure!(!families.contains_key(name), "the family began further up");
        families.insert(name.to_owned(), Family::default());
        *current = Some(name.to_owned());
    }
    let family = families.get_mut(name).context("it was put there just now")?;
    ensure!(family.samples.is_empty(), "its samples began already");
    match what {
        "TYPE" => {
            ensure!(family.kind.is_empty(), "it has a type already");
            ensure!(["gauge", "counter", "histogram"].contains(&value), "no such type is used here");
            value.clone_into(&mut family.kind);
        }
        "UNIT" => {
            ensure!(family.unit.is_none(), "it has a unit already");
            ensure!(["seconds", "bytes"].contains(&value), "it is no base unit that is used here");
            ensure!(name.ends_with(&format!("_{value}")), "the name does not end with the unit");
            family.unit = Some(value.to_owned());
        }
        "HELP" => {
            ensure!(family.help.is_empty() && !value.is_empty(), "it has a text already, or an empty one");
            value.clone_into(&mut family.help);
        }
        _ => bail!("it is neither TYPE, UNIT nor HELP"),
    }
    Ok(())
}

fn measure(families: &mut BTreeMap<String, Family>, current: Option<&str>, line: &str) -> Result<()> {
    let current = current.context("it stands before any family")?;
    let family = families.get_mut(current).context("its family is unknown")?;
    let end = line.find(['{', ' ']).context("there is no value")?;
    let (name, rest) = line.split_at(end);
    let suffix = name.strip_prefix(current).context("it is of another family")?;
    let suffixes: &[&str] = match family.kind.as_str() {
        "gauge" => &[""],
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        _ => bail!("its family has no type yet"),
    };
    ensure!(suffixes.contains(&suffix), "a {} has no {suffix:?}", family.kind);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ').context("there is no blank before the value")?;
    ensure!(!value.contains(' '), "there is more than a value");
    let value: f64 = value.parse().context("the value is no number")?;
    ensure!(!value.is_nan(), "the value is no number");
    ensure!(family.kind == "gauge" || value >= 0.0, "a {} is never less than nothing", family.kind);
    family.samples.push(Sample { name: name.to_owned(), labels, value });
    Ok(())
}

/// What stands between the braces, and what comes behind them.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    if let Some(rest) = rest.strip_prefix('}') {
        return Ok((labels, rest));
    }
    loop {
        let (name, after) = rest.split_once("=\"").context("a label has no value")?;
        name_is_good(name)?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in after.char_indices() {
            match (escaped, letter) {
                (true, 'n') => value.push('\n'),
                (true, '"' | '\\') => value.push(letter),
                (true, _) => bail!("\\{letter} means nothing"),
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, '\\') => {}
                (false, _) => value.push(letter),
            }
            escaped = !escaped && letter == '\\';
        }
        let end = end.context("a value does not end")?;
        ensure!(labels.insert(name.to_owned(), value).is_none(), "the label {name} is there twice");
        let after = after.get(end + 1..).unwrap_or_default();
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok((labels, after.strip_prefix('}').context("the labels do not end")?)),
        }
    }
}

fn name_is_good(name: &str) -> Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_');
    ensure!(good, "{name:?} is no name in snake case");
    Ok(())
}

/// What can be said when all samples are known.
fn whole(name: &str, family: &Family) -> Result<()> {
    ensure!(!family.kind.is_empty() && !family.help.is_empty(), "it has no type or no help");
    for bad in ["_total", "_count", "_sum", "_bucket", "_info", "_created"] {
        ensure!(!name.ends_with(bad), "{bad} is for samples");
    }
    for bad in ["milliseconds", "millis", "_ms", "_micros", "_kib", "_mib", "minutes", "percent"] {
        ensure!(!name.contains(bad), "the base units are seconds, bytes and ratios");
    }
    for unit in ["seconds", "bytes"] {
        let said = family.unit.as_deref() == Some(unit);
        ensure!(said == name.ends_with(&format!("_{unit}")), "the unit and the name do not agree");
    }
    let mut seen = BTreeSet::new();
    let mut names: Option<BTreeSet<&String>> = None;
    for Sample { name, labels, .. } in &family.samples {
        ensure!(seen.insert((name, labels)), "{name} {labels:?} is there twice");
        let of: BTreeSet<_> = labels.keys().filter(|label| *label != "le").collect();
        ensure!(names.get_or_insert_with(|| of.clone()) == &of, "{name} {labels:?} has other labels than the rest");
    }
    if family.kind == "histogram" { histogram(family) } else { Ok(()) }
}

fn histogram(family: &Family) -> Result<()> {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound: f64 =
            labels.remove("le").context("a bucket has no bound")?.parse().context("a bound is no number")?;
        series.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in series {
        let rises = buckets.iter().zip(buckets.iter().skip(1)).all(|(a, b)| a.0 < b.0 && a.1 <= b.1);
        ensure!(rises, "{labels:?}: bounds and counts do not rise");
        let (bound, all) = buckets.last().copied().context("there is no bucket")?;
        ensure!(bound.is_infinite(), "{labels:?}: the last bound is not +Inf");
        let of = |suffix: &str| {
            let found = family.samples.iter().find(|s| s.name.ends_with(suffix) && s.labels == labels);
            found.map(|sample| sample.value).with_context(|| format!("{labels:?}: there is no {suffix}"))
        };
        ensure!((of("_count")? - all).abs() < 0.5, "{labels:?}: the count is not that of the last bucket");
        of("_sum")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                        a_seconds_sum{b=\"c\"} 1.5\na_seconds_count{b=\"c\"} 2\n\
                        a_seconds_bucket{le=\"1.0\",b=\"c\"} 1\na_seconds_bucket{le=\"+Inf\",b=\"c\"} 2\n\
                        # HELP d Things.\n# TYPE d counter\nd_total{e=\"\\\"\\n\\\\\"} 1\n# EOF\n";

    #[test]
    fn a_good_one_is_read() {
        let families = read(GOOD).unwrap();
        assert_eq!(families["a_seconds"].samples.len(), 4);
        assert_eq!(families["d"].samples[0].labels["e"], "\"\n\\");
    }

    #[test]
    fn each_mistake_is_an_error() {
        for (from, to) in [
            ("# EOF\n", ""),
            ("# HELP d Things.\n", ""),
            ("# TYPE d counter\n", ""),
            ("d_total", "d"),
            ("d_total", "e_total"),
            ("} 1\n# EOF", "} one\n# EOF"),
            ("} 1\n# EOF", "} -1\n# EOF"),
            ("} 1\n# EOF", "} NaN\n# EOF"),
            ("} 1\n# EOF", "} 1\nd_total{e=\"\\\"\\n\\\\\"} 1\n# EOF"),
            ("} 1\n# EOF", "} 1\nd_total{f=\"\"} 1\n# EOF"),
            ("e=\"", "E=\""),
            ("le=\"+Inf\"", "le=\"0.5\""),
            ("le=\"+Inf\"", "le=\"2\""),
            ("a_seconds_count{b=\"c\"} 2", "a_seconds_count{b=\"c\"} 3"),
            ("a_seconds_sum{b=\"c\"} 1.5\n", ""),
            ("# UNIT a_seconds seconds\n", ""),
            ("# UNIT a_seconds seconds", "# UNIT a_seconds millis"),
            ("# HELP d Things.", "# HELP d__e Things."),
            ("\\n\\\\", "\\t\\\\"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            assert!(read(&GOOD.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }
}
