//! Tables, ages and sizes for people.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table};
use seawall_model::{Port, Protocol, Session, SessionState, Timestamp};

/// A table without borders, as `docker ps` has it; columns are three spaces apart.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| super::printable(cell).replace(['\n', '\t'], " ")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// How long ago, in its largest unit: `12s`, `3m`, `5h`, `2d`.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A duration of a machine's making: `1.2ms`, `3.4s`.
pub(crate) fn latency(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1}ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}

/// The state, with what was known before if it is unknown now.
pub(crate) fn state(session: &Session) -> String {
    match (session.state, session.last_state) {
        (SessionState::Unknown, Some(last)) => format!("unknown ({last})"),
        (state, _) => state.to_string(),
    }
}

/// A published port, as Docker shows it.
pub(crate) fn port(port: &Port) -> String {
    let address = port.address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string());
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let host = port.host.map_or_else(|| "any".to_owned(), |host| host.to_string());
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{address}:{host}->{}/{protocol}", port.container)
}

/// Image and command in one column.
pub(crate) fn what(session: &Session, short: bool) -> String {
    let words: Vec<&str> = session
        .spec
        .image
        .iter()
        .chain(&session.spec.command)
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    let words = words.join(" ");
    if short { cut(&words, 40) } else { words }
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `key: value` lines with the values in one column; what has no value is left out.
pub(crate) fn facts(facts: &[(&str, Option<String>)]) -> String {
    let width = facts.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for (key, value) in facts {
        if let Some(value) = value {
            let label = format!("{key}:");
            text.push_str(&format!("{label:<width$}{}\n", super::printable(value)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp::from_millis(1_000_000_000);
        let ages =
            [0, 59, 60, 3599, 3600, 172_799, 172_800].map(|seconds| age(now + Duration::from_secs(seconds), now));
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
        assert_eq!(age(now, now + Duration::from_secs(5)), "0s");
    }

    #[test]
    fn a_table_has_no_borders_and_no_trailing_space() {
        let text =
            table(&["ID", "NAME"], [vec!["0123".to_owned(), "a\x1b".to_owned()], vec!["4".to_owned(), String::new()]]);
        assert_eq!(text, "ID     NAME\n0123   a\\u{1b}\n4\n");
    }
}
