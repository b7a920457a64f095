//! Where the daemon's spans go: the table `[telemetry.otlp]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use seawall_model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the daemon tells others about its own work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Spans, by the OpenTelemetry protocol. Nothing of it runs without an endpoint.
    pub(crate) otlp: Otlp,
}

/// Spans, by the OpenTelemetry protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Otlp {
    /// The collector, as in `http://127.0.0.1:4318` or `https://collector.example:4318`; spans go to `/v1/traces` below it.
    /// Default: none, and nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Whoever vouches for its certificate, in PEM, and nobody else. Default: whom the system believes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub(crate) ca_file: Option<PathBuf>,
    /// How: `http/protobuf` is what there is. Default `http/protobuf`.
    pub(crate) protocol: Protocol,
    /// Headers of each request, as where a collector wants credentials. Shown nowhere. Default: none.
    #[schema(value_type = BTreeMap<String, String>)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// How long a request may take, and the last one when the daemon ends. Default 10 s.
    #[serde(with = "humantime_serde")]
    #[schema(value_type = seawall_model::schema::Span)]
    pub(crate) timeout: Duration,
    /// The share of traces that are sent, from 0 to 1. One that was begun elsewhere is sent if it is kept there. Default 1.
    pub(crate) sample_ratio: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca_file: None,
            protocol: Protocol::default(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            sample_ratio: 1.0,
        }
    }
}

/// How spans are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

impl Telemetry {
    /// The same without anything that is nobody's business.
    pub(super) fn redacted(&self) -> Self {
        let mut shown = self.clone();
        shown.otlp.headers.values_mut().for_each(|value| *value = Secret::new(Secret::REDACTED));
        shown
    }

    /// With paths that begin where they were written.
    pub(super) fn beside(mut self, folder: &Path) -> Self {
        if let Some(file) = &mut self.otlp.ca_file {
            *file = folder.join(&*file);
        }
        self
    }

    /// Checks what types cannot say: the key at fault, and what it may be.
    pub(super) fn check(&self) -> Result<(), (Vec<&str>, String)> {
        let Otlp { endpoint, ca_file, protocol: Protocol::HttpProtobuf, headers, timeout, sample_ratio } = &self.otlp;
        let wrong = |key: &'static str, message: String| {
            let message = format!("telemetry.otlp.{key}: {message}");
            Err((vec!["telemetry", "otlp", key], message))
        };
        if let Some(endpoint) = endpoint
            && let Err(message) = url(endpoint)
        {
            return wrong("endpoint", message);
        }
        if ca_file.is_some()
            && endpoint.as_deref().and_then(|endpoint| url(endpoint).ok()).is_none_or(|url| url.scheme() != "https")
        {
            return wrong("ca-file", "no certificate is shown but by an endpoint with https://".to_owned());
        }
        for (name, value) in headers {
            let good = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value.reveal()).is_ok();
            if !good {
                return wrong("headers", format!("{name:?} is no name of a header, or its value cannot be sent"));
            }
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(timeout) {
            return wrong("timeout", "between 1ms and 1m".to_owned());
        }
        if !(0.0..=1.0).contains(sample_ratio) {
            return wrong("sample-ratio", "a share from 0 to 1".to_owned());
        }
        Ok(())
    }
}

/// Where spans are sent to.
fn url(endpoint: &str) -> Result<Url, String> {
    let url = Url::parse(endpoint).map_err(|error| format!("{endpoint:?} is no address ({error}): {FORM}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{endpoint:?} cannot be spoken to, since it is not HTTP: {FORM}"));
    }
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if url.host_str().is_none_or(str::is_empty) || !bare {
        return Err(format!("{endpoint:?} has more or less than host, port and path: {FORM}"));
    }
    Ok(url)
}

const FORM: &str = "write http://127.0.0.1:4318 or https://collector.example:4318";

impl Otlp {
    /// The address that spans are sent to, if there is one.
    pub(crate) fn traces(&self) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?;
        Some(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;

    #[test]
    fn an_endpoint_is_http_and_every_mistake_has_its_place() {
        let good = "[telemetry.otlp]\nendpoint = \"http://localhost:4318/\"\nheaders = { authorization = \"Bearer x\" }\n\
                    protocol = \"http/protobuf\"\ntimeout = \"2s\"\nsample-ratio = 0.25";
        let read = settings(good).unwrap();
        assert_eq!(read.telemetry.otlp.traces().as_deref(), Some("http://localhost:4318/v1/traces"));
        let shown = read.effective_text().unwrap();
        assert!(shown.contains("[redacted]") && !shown.contains("Bearer"), "{shown}");
        assert_eq!(settings("").unwrap().telemetry.otlp.traces(), None);
        let secured = settings("[telemetry.otlp]\nendpoint = \"https://c:4318\"\nca-file = \"ca.pem\"").unwrap();
        assert_eq!(secured.telemetry.otlp.traces().as_deref(), Some("https://c:4318/v1/traces"));
        assert!(secured.telemetry.otlp.ca_file.unwrap().is_absolute(), "it lies beside the file that names it");
        for (wrong, words) in [
            ("endpoint = \"grpc://collector:4318\"", "not HTTP"),
            ("endpoint = \"localhost:4318\"", "not HTTP"),
            ("ca-file = \"ca.pem\"", "https://"),
            ("ca-file = \"ca.pem\"\nendpoint = \"http://collector\"", "https://"),
            ("endpoint = \"collector\"", "no address"),
            ("endpoint = \"http://collector:4318?x\"", "more or less"),
            ("endpoint = \"http://me:secret@collector\"", "more or less"),
            ("protocol = \"grpc\"", "http/protobuf"),
            ("headers = { \"a b\" = \"c\" }", "no name of a header"),
            ("headers = { a = \"b\\n\" }", "no name of a header"),
            ("timeout = \"0s\"", "between 1ms and 1m"),
            ("sample-ratio = 1.5", "from 0 to 1"),
            ("sample-ratio = nan", "from 0 to 1"),
            ("endpont = \"http://collector\"", "did you mean `endpoint`?"),
        ] {
            let said = settings(&format!("[telemetry.otlp]\n{wrong}")).unwrap_err().to_string();
            assert!(said.contains("seawall.toml:2:") && said.contains(words), "{wrong}: {said}");
        }
    }
}
