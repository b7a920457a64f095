//! One HTTP request over a Unix socket, with nothing between the test and the bytes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::PATIENCE;

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// With the transfer encoding taken off.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a request and reads the whole answer. A body is sent as JSON.
///
/// # Errors
/// The socket cannot be reached, nothing comes within [`PATIENCE`], or what comes is no HTTP.
pub fn request(socket: &Path, method: &str, target: &str, body: Option<&str>) -> io::Result<Response> {
    let length = body.map_or(0, str::len);
    let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: seawall\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n"
    );
    raw(socket, &[head.as_bytes(), body.unwrap_or_default().as_bytes()].concat())
}

/// Asks for a stream, and gives the connection once the answer was begun and found good: of its body nothing was read.
///
/// # Errors
/// As [`request`], or the answer is another than 200.
pub fn open(socket: &Path, target: &str) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: seawall\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        return Ok(stream);
    }
    let said = format!("{target} was answered with {:?}", String::from_utf8_lossy(&status));
    Err(io::Error::other(said))
}

/// Sends these bytes and reads the answer up to the end of the connection.
///
/// # Errors
/// As [`request`].
pub fn raw(socket: &Path, bytes: &[u8]) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Whoever refuses a request need not read all of it: the answer is there all the same.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent?;
        read?;
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = answer.split_at_checked(end)?;
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = rest.get(4..)?;
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Response { status, headers, body })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let length = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        let from = end + 2;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(from..from + length)?);
        rest = rest.get(from + length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_headers_found_by_lower_case() {
        let answer =
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let answer = parse(answer).unwrap();
        assert_eq!((answer.status, answer.text().as_str(), answer.header("x-a")), (201, "abcde", Some("b")));
    }
}
