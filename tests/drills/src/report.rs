//! What came of a drill, and the table of all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Drill;

/// What a drill counts while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// What was done, and how often.
    done: BTreeMap<&'static str, u64>,
    pub(crate) lost: Vec<String>,
    pub(crate) duplicated: Vec<String>,
    pub(crate) orphaned: Vec<String>,
    /// Why it was drilled without Docker.
    pub(crate) without_docker: Option<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.done.entry(what).or_default() += count;
    }

    pub(crate) fn clean(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.orphaned.is_empty()
    }
}

/// How a drill went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which.
    pub drill: Drill,
    /// Of its random choices: with it the same are made again.
    pub seed: u64,
    /// At full length.
    pub full: bool,
    /// It took so long.
    pub seconds: f64,
    /// What was done, and how often.
    pub done: BTreeMap<&'static str, u64>,
    /// Sessions that should be there and are not, or not as they should be.
    pub lost: Vec<String>,
    /// Sessions that are there more than once.
    pub duplicated: Vec<String>,
    /// What is there and belongs to no session.
    pub orphaned: Vec<String>,
    /// Why it was drilled without Docker; absent: it was drilled with it, or needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_docker: Option<String>,
    /// What else went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    pub(crate) fn new(
        drill: Drill,
        seed: u64,
        full: bool,
        took: Duration,
        tally: Tally,
        error: Option<String>,
    ) -> Self {
        let Tally { done, lost, duplicated, orphaned, without_docker } = tally;
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        Self { drill, seed, full, seconds, done, lost, duplicated, orphaned, without_docker, error }
    }

    /// Nothing was lost, duplicated or orphaned, and nothing else went wrong.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.lost.is_empty() && self.duplicated.is_empty() && self.orphaned.is_empty()
    }

    /// The head of the table that reports are the lines of.
    pub fn head() -> String {
        format!(
            "{:<9}{:>12}{:>9}{:>6}{:>12}{:>10}  {:<8}done",
            "drill", "seed", "seconds", "lost", "duplicated", "orphaned", "result"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match (self.passed(), &self.without_docker) {
            (false, _) => "FAILED",
            (true, None) => "ok",
            (true, Some(_)) => "ok, WITHOUT Docker",
        };
        let done: Vec<_> = self.done.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let (lost, duplicated, orphaned) = (self.lost.len(), self.duplicated.len(), self.orphaned.len());
        write!(
            f,
            "{:<9}{:>12}{:>9.1}{lost:>6}{duplicated:>12}{orphaned:>10}  {result:<8}{}",
            self.drill.name(),
            self.seed,
            self.seconds,
            done.join(", ")
        )?;
        for (what, all) in [("lost", &self.lost), ("duplicated", &self.duplicated), ("orphaned", &self.orphaned)] {
            for one in all {
                write!(f, "\n   {what}: {one}")?;
            }
        }
        match &self.error {
            Some(error) => write!(f, "\n   {error}"),
            None => Ok(()),
        }
    }
}
