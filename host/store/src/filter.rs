//! Which events somebody wants to see.

use seawall_model::{BackendName, Timestamp};

use crate::Event;

/// Which events are meant: those that all parts agree on. An empty list agrees on every event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// About one of these sessions: each an id, the beginning of one (4 digits or more), or the name it had then. So a
    /// session that is gone can be asked for as well.
    pub sessions: Vec<String>,
    /// On one of these backends.
    pub backends: Vec<BackendName>,
    /// Of a kind that begins with one of these.
    pub kinds: Vec<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
}

/// Fewer digits of an id are no reference to it.
const SHORTEST_PREFIX: usize = 4;

impl EventFilter {
    /// Whether an event is meant.
    pub fn matches(&self, event: &Event) -> bool {
        let about = |text: &String| {
            let id = event.session.as_ref().map(|id| id.as_str());
            let name = event.name.as_ref().map(|name| name.as_str());
            name == Some(text) || (text.len() >= SHORTEST_PREFIX && id.is_some_and(|id| id.starts_with(text.as_str())))
        };
        (self.sessions.is_empty() || self.sessions.iter().any(about))
            && (self.backends.is_empty() || event.backend.as_ref().is_some_and(|name| self.backends.contains(name)))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| event.kind.starts_with(kind.as_str())))
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_must_agree_and_one_of_each_is_enough() {
        let event = Event {
            id: 1,
            at: Timestamp::from_millis(1000),
            kind: "session.started".to_owned(),
            session: Some("0123456789abcdef".parse().unwrap()),
            name: Some("web".parse().unwrap()),
            backend: Some("docker".parse().unwrap()),
            incarnation: Some(1),
            message: String::new(),
            trace_id: None,
            actor: None,
        };
        let all = EventFilter::default();
        let sessions = |texts: &[&str]| EventFilter {
            sessions: texts.iter().map(|&text| text.to_owned()).collect(),
            ..all.clone()
        };
        for (texts, matches) in [
            (&["web"][..], true),
            (&["0123"], true),
            (&["0123456789abcdef"], true),
            (&["none", "web"], true),
            (&["we"], false),
            (&["012"], false),
            (&["1234"], false),
        ] {
            assert_eq!(sessions(texts).matches(&event), matches, "{texts:?}");
        }
        let kinds = |kind: &str| EventFilter { kinds: vec![kind.to_owned()], ..all.clone() };
        assert!(kinds("session.").matches(&event) && !kinds("backend.").matches(&event));
        let backend = |name: &str| EventFilter { backends: vec![name.parse().unwrap()], ..sessions(&["web"]) };
        assert!(backend("docker").matches(&event) && !backend("mock").matches(&event));
        let at = |since, until| {
            let time = |millis: Option<u64>| millis.map(Timestamp::from_millis);
            EventFilter { since: time(since), until: time(until), ..all.clone() }.matches(&event)
        };
        assert!(at(Some(1000), Some(1000)) && !at(Some(1001), None) && !at(None, Some(999)));
    }
}
