//! One trace from the caller over the daemon and a plugin to the engine: in the answer, the log, the journal, and what a
//! collector is sent.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use seawall_integration::{eventually, home, refusing, text};
use seawall_testing::exposition;
use seawall_testing::http::raw;
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Head and body of a request.
type Sent = (String, Vec<u8>);

/// Takes requests until it is dropped by the end of the process: head and body of each.
fn collector() -> Result<(SocketAddr, mpsc::Receiver<Sent>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let send = send.clone();
            std::thread::spawn(move || answer(stream, &send));
        }
    });
    Ok((address, received))
}

/// A connection is used again for the next request.
fn answer(mut stream: TcpStream, send: &mpsc::Sender<Sent>) -> Result<()> {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = read.split_off(end + 4);
                break String::from_utf8_lossy(&std::mem::replace(&mut read, rest)).into_owned();
            }
            more(&mut stream, &mut read)?;
        };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.context("the request has no length")?;
        while read.len() < length {
            more(&mut stream, &mut read)?;
        }
        let rest = read.split_off(length);
        let body = std::mem::replace(&mut read, rest);
        // What has had an answer is there for whoever looks.
        if send.send((head, body)).is_err() {
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")?;
    }
}

fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer)?;
    ensure!(length > 0, "the connection ended");
    read.extend(buffer.iter().take(length));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn a_collector_is_sent_one_trace_from_the_caller_to_the_engine() -> Result<()> {
    let (address, received) = collector()?;
    let otlp = format!(
        "[telemetry.otlp]\nendpoint = \"http://{address}\"\ntimeout = \"60s\"\n\
         headers = {{ authorization = \"Bearer hunter2\" }}\n"
    );
    let home = home(&otlp)?;
    let daemon = home.serve(true)?;
    let mut run = home.command(["run", "--backend", "process", "--name", "traced", "--", "sleep", "1000"]);
    let run = run.env("TRACEPARENT", format!("00-{TRACE}-{PARENT}-01")).output()?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // What is left is sent at the end.
    daemon.terminate()?;
    let (mut spans, mut heads) = (BTreeMap::new(), Vec::new());
    while let Ok((head, body)) = received.try_recv() {
        heads.push(head);
        let request = ExportTraceServiceRequest::decode(&*body).context("read what was sent")?;
        for resource in request.resource_spans {
            let service = resource.resource.context("there is no resource")?.attributes;
            ensure!(service.iter().any(|attribute| attribute.key == "service.name"), "{service:?}");
            let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| (hex(&span.span_id), span)));
        }
    }
    let head = heads.first().context("nothing was sent")?.to_lowercase();
    ensure!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    ensure!(head.contains("authorization: bearer hunter2") && head.contains("application/x-protobuf"), "{head}");
    ensure!(!home.log().contains("hunter2"), "the header is in the log");

    let made = |span: &&Span| span.name == "process" && attribute(span, "operation") == Some("create");
    let create = spans.values().filter(made).find(|span| hex(&span.trace_id) == TRACE);
    let mut span = create.with_context(|| format!("no create within the trace: {:?}", names(&spans)))?;
    let mut way = vec![span.name.clone()];
    while let Some(above) = spans.get(&hex(&span.parent_span_id)) {
        ensure!(hex(&above.trace_id) == TRACE, "{above:?}");
        way.push(above.name.clone());
        span = above;
    }
    assert_eq!(way, ["process", "plugin.call", "try", "backend.call", "act", "command", "http.request"]);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(attribute(span, "route"), Some("/v1/sessions"));
    // Whatever has no caller begins a trace of its own.
    let looks = spans.values().filter(|span| ["look", "check"].contains(&span.name.as_str()));
    let mut traces = std::collections::BTreeSet::new();
    for look in looks {
        ensure!(look.parent_span_id.is_empty() && hex(&look.trace_id) != TRACE, "{look:?}");
        ensure!(traces.insert(look.trace_id.clone()), "two looks share a trace: {look:?}");
    }
    ensure!(!traces.is_empty(), "no look was sent: {:?}", names(&spans));
    Ok(())
}

fn names(spans: &BTreeMap<String, Span>) -> Vec<&str> {
    spans.values().map(|span| span.name.as_str()).collect()
}

#[test]
fn a_collector_that_is_away_costs_a_warning_and_nothing_else() -> Result<()> {
    let (port, _kept) = refusing()?;
    let home = home(&format!("[telemetry.otlp]\nendpoint = \"http://127.0.0.1:{port}\"\ntimeout = \"60s\"\n"))?;
    let daemon = home.serve(true)?;
    home.ok(&["run", "--backend", "mock", "--name", "well"])?;
    home.ok(&["stop", "well"])?;
    let status = daemon.terminate()?;
    ensure!(status.success(), "{status}");
    let log = home.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("the collector takes no spans")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    Ok(())
}

#[test]
fn a_call_that_fails_has_one_trace_in_its_answer_in_the_log_and_in_the_journal() -> Result<()> {
    let home = home("[backend.mock.config.create]\nfailure-rate = 1.0\n")?;
    let _daemon = home.serve(true)?;
    let body = r#"{"backend":"mock","name":"never"}"#;
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Type: application/json\r\n\
         traceparent: 00-{TRACE}-{PARENT}-01\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(&home.socket(), request.as_bytes())?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let response = answer.header("traceresponse").context("there is no traceresponse")?;
    ensure!(response.starts_with(&format!("00-{TRACE}-")), "{response}");

    let why = eventually("the create failed", || {
        let why = home.json(&["why", "never"])?;
        Ok(why["errors"].as_array().is_some_and(|errors| !errors.is_empty()).then_some(why))
    })?;
    assert_eq!(text(&why["errors"][0], "trace_id")?, TRACE, "{why:#}");
    eventually("its making and the failure are events of the trace", || {
        let events = home.ok(&["events", "--json", "--session", "never"])?;
        let events: Vec<Value> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of_trace: Vec<_> = events.iter().filter(|event| event["trace_id"] == TRACE).collect();
        let made = of_trace.iter().any(|event| event["kind"] == "session.created");
        Ok((made && of_trace.len() > 1).then_some(()))
    })?;
    let marked = format!("\"trace_id\":\"{TRACE}\"");
    eventually("two lines of the log are of the trace", || {
        Ok((home.log().lines().filter(|line| line.contains(&marked)).count() > 1).then_some(()))
    })?;

    // A problem says it as well.
    let request = format!(
        "GET /v1/sessions/nobody HTTP/1.1\r\nHost: s\r\nConnection: close\r\ntraceparent: 00-{TRACE}-{PARENT}-00\r\n\r\n"
    );
    let answer = raw(&home.socket(), request.as_bytes())?;
    assert_eq!((answer.status, text(&answer.json(), "trace_id")?), (404, TRACE));
    Ok(())
}

#[test]
fn what_plugins_take_is_measured_and_the_whole_page_can_be_read() -> Result<()> {
    let home = home("")?;
    let _daemon = home.serve(true)?;
    home.ok(&["run", "--backend", "mock", "--name", "seen"])?;
    let page = home.http("GET", "/metrics", None)?;
    let families = exposition::read(&page.text())?;
    let sample = |family: &str, name: &str, labels: &[(&str, &str)]| -> Result<f64> {
        let family = families.get(family).with_context(|| format!("there is no {family}"))?;
        let fits = |sample: &&exposition::Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        };
        Ok(family.samples.iter().find(fits).with_context(|| format!("no {name} {labels:?}"))?.value)
    };
    let create = [("backend", "mock"), ("function", "create")];
    ensure!(sample("seawall_call_fuel", "seawall_call_fuel_sum", &create)? > 100.0);
    ensure!(sample("seawall_call_memory_peak_bytes", "seawall_call_memory_peak_bytes", &create)? >= 65536.0);
    ensure!(sample("seawall_pool_slots", "seawall_pool_slots", &[("kind", "components")])? > 1.0);
    let posted = [("method", "POST"), ("route", "/v1/sessions"), ("status", "201")];
    let name = "seawall_api_request_duration_seconds";
    ensure!(sample(name, &format!("{name}_count"), &posted)? > 0.5);
    Ok(())
}
