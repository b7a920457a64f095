//! The daemon's API, as a client uses it that may find nobody there.

use seawall_model::Session;
use seawall_testing::daemon::Home;
use serde_json::Value;

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// It was answered with success.
    Yes(Value),
    /// It was refused, and nothing changed: the status, and what was said.
    No(u16, String),
    /// Nobody knows: the connection broke, or the daemon said that it does not know either.
    Silence(String),
}

/// Asks.
pub(crate) fn ask(home: &Home, method: &str, target: &str, body: Option<&Value>) -> Told {
    let body = body.map(Value::to_string);
    match home.http(method, target, body.as_deref()) {
        Ok(answer) if (200..300).contains(&answer.status) => Told::Yes(answer.json()),
        // A store that cannot write, a daemon that ends: what was asked may have been done. A backend that is busy or
        // away is asked before anything is changed.
        Ok(answer) if answer.status >= 500 && (answer.status != 503 || answer.text().contains("shutting_down")) => {
            Told::Silence(answer.text())
        }
        Ok(answer) => Told::No(answer.status, answer.text()),
        Err(error) => Told::Silence(error.to_string()),
    }
}

/// Every session; `None` if there is no answer now.
pub(crate) fn sessions(home: &Home) -> Option<Vec<Session>> {
    match ask(home, "GET", "/v1/sessions?all=true", None) {
        Told::Yes(list) => serde_json::from_value(list).ok(),
        Told::No(..) | Told::Silence(_) => None,
    }
}
