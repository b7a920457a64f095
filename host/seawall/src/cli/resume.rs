//! A log that is followed over restarts: of the session, whose next incarnation is read after the last one, and of the
//! daemon, after which it is read on where it broke off.
//!
//! Where that is, times tell: each line is asked for with its time, which is taken off again. What is counted are the bytes
//! since the first line of the newest millisecond; after a break the log is read from that millisecond on, and so many bytes
//! of it are passed over.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use seawall_model::{Incarnation, Timestamp};

use super::logs::write;
use super::printable;
use crate::api::{Frame, FrameReader};
use crate::client::Client;
use crate::exit::{Code, Failure};

/// Between two tries to find the daemon, at first; each further one is twice as long, up to the second.
pub(super) const FIRST: Duration = Duration::from_millis(100);
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// A log that is followed.
pub(super) struct Resumed<'a> {
    client: &'a Client,
    session: &'a str,
    /// What is asked for, without where to begin.
    query: Vec<(&'static str, String)>,
    /// Where it begins the first time.
    begin: Vec<(&'static str, String)>,
    /// The caller wants to see the times.
    shown: bool,
    place: Place,
}

/// How far it was read.
#[derive(Debug, Default)]
struct Place {
    /// The newest millisecond in which a line began.
    at: Option<Timestamp>,
    /// Bytes since the first line of it.
    since: u64,
    /// So many are still to be passed over.
    skip: u64,
    /// Nothing of what is read again has a time yet: it is the end of a line that began before, and was shown.
    before: bool,
    stdout: Line,
    stderr: Line,
}

/// What of a line was read.
#[derive(Debug, Default)]
struct Line {
    /// It has begun, and its time was read.
    begun: bool,
    /// It was shown before.
    known: bool,
    /// What was read of its time.
    time: Vec<u8>,
}

/// The most bytes of a time and the space after it.
const LONGEST_TIME: usize = 40;

enum Read {
    /// The incarnation wrote no more.
    Ended,
    /// Whoever reads what is printed here is gone.
    Unread,
}

impl<'a> Resumed<'a> {
    pub(super) fn new(
        client: &'a Client,
        session: &'a str,
        query: Vec<(&'static str, String)>,
        begin: Vec<(&'static str, String)>,
        shown: bool,
    ) -> Self {
        Self { client, session, query, begin, shown, place: Place::default() }
    }

    /// Shows it until the session is over for good.
    pub(super) async fn follow(mut self) -> Result<(), Failure> {
        let mut incarnation = found(async || self.client.session(self.session).await).await?.incarnation;
        loop {
            if let Read::Unread = self.incarnation(incarnation).await? {
                return Ok(());
            }
            self.place = Place::default();
            self.begin.clear();
            let Some(next) = found(async || self.next(incarnation).await).await? else { return Ok(()) };
            incarnation = next;
        }
    }

    /// The one after this. `None`: there will be none.
    async fn next(&self, incarnation: Incarnation) -> Result<Option<Incarnation>, Failure> {
        match self.client.wait_past(self.session, incarnation).await {
            // It may have come and gone already.
            Ok(now) => Ok(now.filter(|now| now.incarnation > incarnation).map(|_| incarnation.saturating_add(1))),
            Err(failure) if failure.code() == Code::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Shows all that one incarnation writes, however often the daemon goes away.
    async fn incarnation(&mut self, incarnation: Incarnation) -> Result<Read, Failure> {
        loop {
            let mut query = self.query.clone();
            query.extend([("incarnation", incarnation.to_string()), ("timestamps", true.to_string())]);
            match self.place.at {
                Some(at) => query.push(("since", at.to_string())),
                None => query.extend(self.begin.iter().cloned()),
            }
            self.place.again();
            let path = ["sessions", self.session, "logs"];
            let response = match found(async || self.client.send(Method::GET, &path, &query).await).await {
                // It is not kept, or the session is gone.
                Err(failure) if failure.code() == Code::NotFound => return Ok(Read::Ended),
                response => response?,
            };
            match self.copy(response).await {
                Err(failure) if is_away(&failure) => {
                    eprintln!("seawall: {}; the log is read on when the daemon is there", printable(&failure.chain()));
                }
                read => return read,
            }
        }
    }

    async fn copy(&mut self, response: Response) -> Result<Read, Failure> {
        let mut body = response.bytes_stream();
        let mut reader = FrameReader::default();
        while let Some(bytes) = body.next().await {
            reader.feed(&bytes.map_err(|error| self.client.broken(error))?);
            while let Some(frame) = reader.next().map_err(|error| Failure::Other(anyhow::Error::msg(error)))? {
                let frame = match frame {
                    Frame::Stdout(bytes) => Frame::Stdout(self.place.pass(false, &bytes, self.shown)),
                    Frame::Stderr(bytes) => Frame::Stderr(self.place.pass(true, &bytes, self.shown)),
                    other => other,
                };
                if !write(frame)? {
                    return Ok(Read::Unread);
                }
            }
        }
        Ok(Read::Ended)
    }
}

/// Asks until there is a daemon that answers.
pub(super) async fn found<T>(ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut pause = FIRST;
    loop {
        match ask().await {
            Err(failure) if is_away(&failure) => {}
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// It may come back.
pub(super) fn is_away(failure: &Failure) -> bool {
    matches!(failure.code(), Code::NoDaemon | Code::Unavailable)
}

impl Place {
    /// It is read from the newest millisecond on.
    fn again(&mut self) {
        // What it did not come to pass over is still known.
        self.skip += std::mem::take(&mut self.since);
        self.before = self.at.is_some();
        (self.stdout, self.stderr) = (Line::default(), Line::default());
    }

    /// What of these bytes was not shown before.
    fn pass(&mut self, stderr: bool, bytes: &[u8], shown: bool) -> Bytes {
        let mut new = Vec::with_capacity(bytes.len());
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = if stderr { &mut self.stderr } else { &mut self.stdout };
            let mut text = part;
            if !line.begun {
                let end = part.iter().position(|byte| *byte == b' ');
                let (time, rest) = part.split_at(end.map_or(part.len(), |end| end + 1));
                line.time.extend_from_slice(time);
                if end.is_none() && !part.ends_with(b"\n") && line.time.len() < LONGEST_TIME {
                    continue;
                }
                let time = std::mem::take(&mut line.time);
                line.begun = true;
                let read = std::str::from_utf8(&time).ok().and_then(|text| text.trim_end().parse::<Timestamp>().ok());
                // Of what has no time nothing is taken off.
                self.before &= read.is_none();
                line.known = self.before;
                if let Some(at) = read
                    && self.at.is_none_or(|newest| at > newest)
                {
                    // Nothing that was shown is so new.
                    (self.at, self.since, self.skip) = (Some(at), 0, 0);
                }
                if (read.is_none() || shown) && !self.before {
                    self.show(&time, &mut new);
                }
                text = rest;
            }
            let line = if stderr { &mut self.stderr } else { &mut self.stdout };
            if !line.known {
                self.show(text, &mut new);
            }
            let line = if stderr { &mut self.stderr } else { &mut self.stdout };
            line.begun = !part.ends_with(b"\n");
        }
        new.into()
    }

    fn show(&mut self, bytes: &[u8], new: &mut Vec<u8>) {
        self.since += bytes.len() as u64;
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= known as u64;
        new.extend_from_slice(bytes.get(known..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log as the daemon gives it from a time on: each line with the time of the piece that it begins in.
    fn log(pieces: &[(u64, String)], since: Option<Timestamp>) -> Vec<u8> {
        let (mut log, mut begins) = (Vec::new(), true);
        for (at, text) in pieces {
            let at = Timestamp::from_millis(*at);
            for line in text.split_inclusive('\n') {
                if since.is_none_or(|since| at >= since) {
                    let time = if begins { format!("{at} ") } else { String::new() };
                    log.extend(format!("{time}{line}").into_bytes());
                }
                begins = line.ends_with('\n');
            }
        }
        log
    }

    proptest! {
        #[test]
        fn whatever_breaks_off_is_read_on_without_loss_or_repetition(
            steps in prop::collection::vec((0_u64..3, "[a-c \n]{0,5}"), 0..30),
            breaks in prop::collection::vec(0_usize..400, 0..6),
            size in 1_usize..50,
            shown: bool,
        ) {
            let mut now = 1_700_000_000_000;
            let mut pieces: Vec<(u64, String)> = steps.into_iter().map(|(step, text)| { now += step; (now, text) }).collect();
            pieces.push((now, "\n".to_owned()));
            let (mut place, mut read) = (Place::default(), Vec::new());
            for cut in breaks.into_iter().map(Some).chain([None]) {
                let log = log(&pieces, place.at);
                place.again();
                let given = &log[..cut.unwrap_or(usize::MAX).min(log.len())];
                given.chunks(size).for_each(|piece| read.extend_from_slice(&place.pass(false, piece, shown)));
            }
            let whole: Vec<u8> = if shown {
                log(&pieces, None)
            } else {
                pieces.iter().flat_map(|(_, text)| text.clone().into_bytes()).collect()
            };
            prop_assert_eq!(String::from_utf8(read).unwrap(), String::from_utf8(whole).unwrap());
        }
    }

    #[test]
    fn both_streams_have_lines_of_their_own() {
        let mut place = Place::default();
        place.again();
        let first = "2026-01-31T12:00:00.000Z a";
        assert_eq!(place.pass(false, first.as_bytes(), false), "a");
        assert_eq!(place.pass(true, b"2026-01-31T12:00:00.001Z e\n", false), "e\n");
        assert_eq!(place.pass(false, b"b\n", false), "b\n");
        assert_eq!(
            place.pass(false, b"no time at all, however long it may be\n", false),
            "no time at all, however long it may be\n"
        );
    }
}
