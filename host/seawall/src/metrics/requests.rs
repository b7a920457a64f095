//! The requests of the API, counted as they are answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, SECONDS};
use super::write::{self, Writer};

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Mutex<Answered>>);

/// By method, address and status.
pub(super) type Answered = BTreeMap<(&'static str, Box<str>, Box<str>), Histogram>;

impl Requests {
    /// One was answered: its first byte was ready after `took`. `route` is an address as it is described, with names in
    /// place of what differs, and never as it was asked for.
    pub(super) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        // A client may invent methods.
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method).unwrap_or("other");
        let key = (method, route.into(), status.to_string().into());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_insert_with(|| Histogram::new(SECONDS)).observe(took.as_secs_f64());
    }

    /// What was counted by now.
    pub(super) fn counted(&self) -> Answered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn encode(answered: &Answered, write: &mut Writer<'_, '_>) -> fmt::Result {
    let samples = answered.iter().map(|((method, route, status), took)| {
        (vec![("method", *method), ("route", &**route), ("status", &**status)], took)
    });
    write.histograms("api_request_duration", "Requests of the API until their answer began", write::SECONDS, samples)
}
