//! The API over TCP: with a token, to a name of this daemon, and with TLS where it has a certificate.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use reqwest::{Method, RequestBuilder, StatusCode};
use seawall_model::{Secret, Timestamp};
use seawall_store::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Daemon, answer};
use crate::api::{Door, listen};
use crate::app::StartError;
use crate::config::{Tcp, TlsFiles};
use crate::tokens::Tokens;

/// A daemon that listens at a port of its own, by these names, and its address and tokens.
async fn daemon(hosts: &[&str], tls: Option<TlsFiles>) -> (Daemon, SocketAddr, Tokens) {
    let listen_at = "127.0.0.1:0".parse().unwrap();
    let door = listen(&Tcp { listen: listen_at, allow_remote: false, hosts: Vec::new(), tls }).await.unwrap();
    let address = door.address();
    let (daemon, tokens) = Daemon::with_doors([Door::Tcp(door)], hosts).await;
    (daemon, address, tokens)
}

async fn token(tokens: &Tokens, scope: Scope) -> Secret {
    tokens.create(format!("{}-{}", scope.as_str(), tokens.list().len()), scope, None).await.unwrap().1
}

fn http() -> reqwest::Client {
    trusting(&[])
}

fn trusting(ca: &[u8]) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = reqwest::Certificate::from_pem_bundle(ca).unwrap();
    reqwest::Client::builder().tls_certs_only(certificates).build().unwrap()
}

async fn asked(request: RequestBuilder) -> (StatusCode, Value, Option<String>) {
    let response = request.send().await.unwrap();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let (status, body) = answer(response).await;
    assert_eq!(challenge.is_some(), status == StatusCode::UNAUTHORIZED, "{body}");
    (status, body, challenge)
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token_that_is_good() {
    let (daemon, address, tokens) = daemon(&[], None).await;
    let http = http();
    let get = |path: &str| http.get(format!("http://{address}{path}"));
    let good = token(&tokens, Scope::Write).await;
    let (revoked, expired) = (token(&tokens, Scope::Admin).await, tokens.expired().await);
    tokens.revoke("admin-1").await.unwrap();

    let paths = ["/v1/sessions", "/openapi.json", "/metrics", "/readyz", "/v1/nothing", "/", "//healthz", "/healthz/"];
    for path in paths {
        assert_eq!(asked(get(path)).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(asked(get("/healthz")).await.0, StatusCode::OK, "that it is alive is no secret");
    assert_eq!(asked(http.post(format!("http://{address}/healthz"))).await.0, StatusCode::UNAUTHORIZED);
    let wrong = format!("{}0", good.reveal());
    for (text, words) in [
        (wrong.as_str(), "none of this daemon's"),
        ("", "write `Authorization: Bearer`"),
        (revoked.reveal(), "none of this daemon's"),
        (expired.reveal(), "was good until"),
    ] {
        let (status, problem, challenge) = asked(get("/v1/sessions").bearer_auth(text)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{text}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert!(challenge.unwrap().starts_with("Bearer "));
    }
    assert_eq!(asked(get("/v1/sessions").basic_auth("a", Some(good.reveal()))).await.0, StatusCode::UNAUTHORIZED);
    let (status, list, _) = asked(get("/v1/sessions").bearer_auth(good.reveal())).await;
    assert_eq!((status, list), (StatusCode::OK, json!([])));
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_is_good_for_its_scope_and_no_more() {
    let (daemon, address, tokens) = daemon(&[], None).await;
    let http = http();
    let send = async |method: Method, path: &str, token: &Secret, body: Value| {
        let request = http.request(method, format!("http://{address}{path}")).bearer_auth(token.reveal());
        let (status, body, _) = asked(request.json(&body)).await;
        (status, body)
    };
    let (read, write, admin) =
        (token(&tokens, Scope::Read).await, token(&tokens, Scope::Write).await, token(&tokens, Scope::Admin).await);
    let spec = json!({"backend": "fake", "name": "web"});
    let new = json!({"name": "more", "scope": "admin"});

    let (status, problem) = send(Method::POST, "/v1/sessions", &read, spec.clone()).await;
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!("urn:seawall:problem:denied")));
    assert!(problem["detail"].as_str().unwrap().contains("is read, and this needs write"), "{problem}");
    for (method, path) in
        [(Method::POST, "/v1/down"), (Method::DELETE, "/v1/sessions/web"), (Method::POST, "/v1/reload")]
    {
        assert_eq!(send(method, path, &read, Value::Null).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    for path in ["/v1/sessions", "/metrics", "/v1/events", "/v1/backends"] {
        let request = http.get(format!("http://{address}{path}")).bearer_auth(read.reveal());
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    for token in [&read, &write] {
        assert_eq!(send(Method::GET, "/v1/tokens", token, Value::Null).await.0, StatusCode::FORBIDDEN);
        assert_eq!(send(Method::POST, "/v1/tokens", token, new.clone()).await.0, StatusCode::FORBIDDEN);
        assert_eq!(send(Method::DELETE, "/v1/tokens/admin-2", token, Value::Null).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(daemon.send(Method::GET, "/v1/sessions?all=true").await.1, json!([]));
    assert_eq!(tokens.list().len(), 3, "nothing was done");

    assert_eq!(send(Method::POST, "/v1/sessions", &write, spec).await.0, StatusCode::CREATED);
    let (status, made) = send(Method::POST, "/v1/tokens", &admin, new).await;
    assert_eq!((status, &made["scope"]), (StatusCode::CREATED, &json!("admin")));
    let made = Secret::new(made["token"].as_str().unwrap());
    assert_eq!(send(Method::DELETE, "/v1/tokens/more", &made, Value::Null).await.0, StatusCode::OK);
    assert_eq!(send(Method::GET, "/v1/tokens", &made, Value::Null).await.0, StatusCode::UNAUTHORIZED);

    let events = daemon.http.get("http://s/v1/events?kind=session.created").header("accept", "application/json");
    let (_, page) = answer(events.send().await.unwrap()).await;
    assert_eq!(page["events"][0]["actor"], "token write-1");
    daemon.stop().await;
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_and_the_secret_is_shown_once() {
    let daemon = Daemon::start().await;
    let send = async |method: Method, path: &str, body: Value| {
        let request = daemon.http.request(method, format!("http://s{path}")).json(&body);
        answer(request.send().await.unwrap()).await
    };
    let (status, made) = send(Method::POST, "/v1/tokens", json!({"name": "ci", "scope": "write"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, list) = send(Method::GET, "/v1/tokens", Value::Null).await;
    assert_eq!((status, list.as_array().unwrap().len()), (StatusCode::OK, 1));
    let secret = made["token"].as_str().unwrap();
    assert!(secret.len() > 64 && !list.to_string().contains(&secret[secret.len() - 16..]), "{list}");
    for (body, status, field) in [
        (json!({"name": "ci", "scope": "read"}), StatusCode::CONFLICT, "name"),
        (json!({"name": "a b", "scope": "read"}), StatusCode::UNPROCESSABLE_ENTITY, "name"),
        (
            json!({"name": "x", "scope": "read", "expires_at": "2020-01-01T00:00:00Z"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "expires_at",
        ),
        (json!({"name": "x"}), StatusCode::BAD_REQUEST, "scope"),
        (json!({"name": "x", "scope": "root"}), StatusCode::BAD_REQUEST, "scope"),
        (json!({"name": "x", "scope": "read", "token": "mine"}), StatusCode::BAD_REQUEST, "token"),
    ] {
        let (found, problem) = send(Method::POST, "/v1/tokens", body.clone()).await;
        assert_eq!((found, &problem["problems"][0]["field"]), (status, &json!(field)), "{body}");
    }
    assert_eq!(send(Method::DELETE, "/v1/tokens/nobody", Value::Null).await.0, StatusCode::NOT_FOUND);
    let (status, gone) = send(Method::DELETE, "/v1/tokens/ci", Value::Null).await;
    assert_eq!((status, &gone["id"]), (StatusCode::OK, &made["id"]));
    assert_eq!(send(Method::GET, "/v1/tokens", Value::Null).await.1, json!([]));
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_that_has_its_name_lead_here_is_not_answered() {
    let (daemon, address, tokens) = daemon(&["seawall.example"], None).await;
    let good = token(&tokens, Scope::Admin).await;
    let http = http();
    for (host, expected) in [
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("seawall.example.evil.example:80", StatusCode::MISDIRECTED_REQUEST),
        ("Seawall.Example:7790", StatusCode::OK),
        ("localhost", StatusCode::OK),
        ("10.9.8.7", StatusCode::OK),
    ] {
        let request = http.get(format!("http://{address}/v1/sessions")).header("host", host).bearer_auth(good.reveal());
        assert_eq!(asked(request).await.0, expected, "{host}");
        let alive = http.get(format!("http://{address}/healthz")).header("host", host);
        assert_eq!(asked(alive).await.0, expected, "{host}");
    }
    // On the socket a name goes nowhere.
    let response = daemon.http.get("http://s/v1/sessions").header("host", "evil.example").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    daemon.stop().await;
}

fn certificate(folder: &Path, mode: u32) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
    files
}

#[tokio::test]
async fn with_a_certificate_it_is_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), 0o600);
    let ca = std::fs::read(&files.cert).unwrap();
    let (daemon, address, tokens) = daemon(&[], Some(files)).await;
    let good = token(&tokens, Scope::Read).await;
    let trusting = trusting(&ca);
    let request = trusting.get(format!("https://localhost:{}/v1/sessions", address.port()));
    assert_eq!(asked(request.bearer_auth(good.reveal())).await.0, StatusCode::OK);
    assert_eq!(asked(trusting.get(format!("https://{address}/v1/sessions"))).await.0, StatusCode::UNAUTHORIZED);
    let stranger = http().get(format!("https://{address}/healthz")).send().await;
    assert!(stranger.is_err_and(|error| error.is_connect()), "nobody vouches for the certificate");

    // What is no TLS gets no answer in HTTP.
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
    daemon.stop().await;
}

/// A client that trusts nobody else comes to an agreement.
async fn trusts(ca: &[u8], address: SocketAddr) -> bool {
    trusting(ca).get(format!("https://{address}/healthz")).send().await.is_ok()
}

#[tokio::test]
async fn another_certificate_is_shown_from_when_it_is_read_and_a_bad_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), 0o600);
    let old = std::fs::read(&files.cert).unwrap();
    let tcp = Tcp {
        listen: "127.0.0.1:0".parse().unwrap(),
        allow_remote: false,
        hosts: Vec::new(),
        tls: Some(files.clone()),
    };
    let door = listen(&tcp).await.unwrap();
    let (address, shown) = (door.address(), door.certificate().unwrap());
    let (daemon, _) = Daemon::with_doors([Door::Tcp(door)], &[]).await;
    assert!(trusts(&old, address).await);
    assert!(shown.again().unwrap().is_none(), "it is the same");

    certificate(folder.path(), 0o600);
    let new = std::fs::read(&files.cert).unwrap();
    assert!(trusts(&old, address).await, "nobody has read the new one");
    shown.show(shown.again().unwrap().expect("it is another one"));
    assert_eq!((trusts(&old, address).await, trusts(&new, address).await), (false, true));

    std::fs::write(&files.cert, old).unwrap();
    let refused = shown.again().unwrap_err();
    assert!(matches!(&refused, StartError::Tls { file, .. } if *file == files.cert), "the key is another one's");
    assert!(trusts(&new, address).await);
    daemon.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), 0o600);
    let other = tempfile::tempdir().unwrap();
    let other = certificate(other.path(), 0o600);
    let absent = folder.path().join("absent.pem");
    let text = folder.path().join("text.pem");
    std::fs::write(&text, "this is no certificate").unwrap();
    let open = tempfile::tempdir().unwrap();
    let open = certificate(open.path(), 0o644);
    let files = |cert: &Path, key: &Path| TlsFiles { cert: cert.to_owned(), key: key.to_owned() };
    for (files, named) in [
        (files(&absent, &good.key), &absent),
        (files(&text, &good.key), &text),
        (files(&good.cert, &absent), &absent),
        (files(&good.cert, &good.cert), &good.cert),
        (files(&good.cert, &other.key), &good.cert),
        (files(&open.cert, &open.key), &open.key),
    ] {
        let tcp =
            Tcp { listen: "127.0.0.1:0".parse().unwrap(), allow_remote: false, hosts: Vec::new(), tls: Some(files) };
        match listen(&tcp).await {
            Err(StartError::Tls { file, .. }) => assert_eq!(file, *named),
            other => panic!("{named:?}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let tcp = Tcp { listen: address, allow_remote: false, hosts: Vec::new(), tls: None };
    let refused = listen(&tcp).await.err().unwrap();
    assert!(matches!(&refused, StartError::Listen { address: named, .. } if *named == address), "{refused:?}");
    assert_eq!(crate::exit::Failure::from(refused).code(), crate::exit::Code::Locked);
}

impl Tokens {
    async fn expired(&self) -> Secret {
        let (token, secret) = self.create("old".to_owned(), Scope::Admin, None).await.unwrap();
        self.end(&token.id, Timestamp::from_millis(1_700_000_000_000));
        secret
    }
}
