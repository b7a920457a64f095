//! Who is let in over TCP: requests to a name of this daemon, with a token that is good, for what it is good for.
//!
//! A page in a browser can have any name lead to this machine (DNS rebinding), but cannot leave that name out of its
//! requests: hence the look at `Host`. An address of numbers is nobody's name, and is let pass.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use seawall_store::{Scope, Token};
use tracing::info;

use super::Api;
use super::audit::{Actor, Granted, Peer};
use super::respond::shown;
use crate::problem::{Kind, Problem};
use crate::tokens::Refusal;

/// The one address for which no token is asked: it says nothing but that somebody is there.
const OPEN: &str = "/healthz";

/// Lets a request in, in the name of somebody, or refuses it. Whoever may open the socket may do everything.
pub(super) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let from = match request.extensions().get::<Peer>() {
        None => return next.run(request).await,
        Some(Peer::Local(user)) => {
            let user = Actor(Arc::clone(user));
            request.extensions_mut().insert(user);
            request.extensions_mut().insert(Granted(Scope::Admin));
            return next.run(request).await;
        }
        Some(Peer::Remote(from)) => *from,
    };
    let asked = asked(&request, &api.hosts).map(|asked| asked.map(|(token, needed)| (token.to_owned(), needed)));
    let admitted = match asked {
        Ok(Some((token, needed))) => admit(&api, &token, needed).await.map(Some),
        Ok(None) => Ok(None),
        Err(problem) => Err(problem),
    };
    match admitted {
        Ok(Some(token)) => {
            request.extensions_mut().insert(Actor(format!("token {}", token.name).into()));
            request.extensions_mut().insert(Granted(token.scope));
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(problem) => {
            let (method, path) = (request.method(), shown(request.uri().path()));
            info!(%from, %method, path, status = problem.status, "nobody was let in: {}", problem.detail);
            problem.into_response()
        }
    }
}

/// What it comes with and what it needs. `None`: there is nothing to guard.
fn asked<'a>(request: &'a Request, hosts: &[String]) -> Result<Option<(&'a str, Scope)>, Problem> {
    named(request.uri(), request.headers(), hosts)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if reads && request.uri().path() == OPEN {
        return Ok(None);
    }
    Ok(Some((bearer(request.headers())?, if reads { Scope::Read } else { Scope::Write })))
}

/// Whose token it is, if it is good and good for that.
async fn admit(api: &Api, token: &str, needed: Scope) -> Result<Token, Problem> {
    let token = api.tokens.admit(token).await.map_err(|refusal| {
        let detail = match refusal {
            Refusal::Unknown => "the token is none of this daemon's, or was revoked".to_owned(),
            Refusal::Expired { name, at } => format!("the token {name} was good until {at}: have another one made"),
        };
        Problem::new(Kind::Unauthenticated, detail)
    })?;
    if token.scope < needed { Err(Granted::too_little(token.scope, needed)) } else { Ok(token) }
}

/// What is sent as `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let wrong = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else {
        return Err(wrong(
            "over TCP each request needs a token: `seawall token create` on the daemon's machine makes one",
        ));
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && all.next().is_none() => Ok(token.trim()),
        _ => Err(wrong("write `Authorization: Bearer` and the token, once")),
    }
}

/// Refuses a request that is meant for somebody else.
fn named(uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> Result<(), Problem> {
    let mut all = headers.get_all(HOST).iter();
    let host = all.next().and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<Authority>().ok());
    let Some(host) = host.filter(|_| all.next().is_none()) else {
        return Err(Problem::field(Kind::Malformed, "Host", "it must be given once, as a host with or without a port"));
    };
    for named in [Some(&host), uri.authority()].into_iter().flatten() {
        let name = named.host().trim_start_matches('[').trim_end_matches(']');
        let known = name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !known {
            let detail = format!("{:?} is no name of this daemon: add it to `api.tcp.hosts` if it is", shown(name));
            return Err(Problem::new(Kind::Misdirected, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(uri: &str, hosts: &[&str]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        named(&uri.parse().unwrap(), &headers, &["seawall.example".to_owned()]).map_err(|problem| problem.status)
    }

    #[test]
    fn only_a_name_of_this_daemon_is_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7790",
            "[::1]:7790",
            "10.1.2.3",
            "localhost:1",
            "LOCALHOST",
            "Seawall.Example:7790",
        ] {
            assert_eq!(said("/v1/sessions", &[host]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:7790", "seawall.example.evil", "127.0.0.1.evil.example"] {
            assert_eq!(said("/v1/sessions", &[host]), Err(421), "{host}");
            assert_eq!(said(&format!("http://{host}/v1/sessions"), &["localhost"]), Err(421), "{host}");
        }
        for hosts in [&[][..], &["localhost", "localhost"], &["a b"], &[""], &["localhost:x:y"]] {
            assert_eq!(said("/v1/sessions", hosts), Err(400), "{hosts:?}");
        }
    }

    #[test]
    fn a_token_is_sent_in_one_way() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            bearer(&headers).map(str::to_owned).map_err(|problem| problem.status)
        };
        assert_eq!(read(&["Bearer swl_x"]).as_deref(), Ok("swl_x"));
        assert_eq!(read(&["bearer  swl_x "]).as_deref(), Ok("swl_x"));
        for values in [&[][..], &["swl_x"], &["Basic swl_x"], &["Bearer"], &["Bearer a", "Bearer a"], &["Bearer\tä"]] {
            assert_eq!(read(values), Err(401), "{values:?}");
        }
    }
}
