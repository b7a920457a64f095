//! Streams that are cut anywhere: the API's log frames, server-sent events, the Docker Engine's log frames. However
//! bytes are cut, they say the same; what is written reads back.

use bytes::Bytes;
use seawall::outside;
use seawall_backend::{LogChunk, Source};

use crate::pieces::cut;
use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "stream", longest: 4096, tries: 1000, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    [
        &b"\x01\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err\x01\0\0\0\0\0\0\0"[..],
        b"\x00\x03\0\0\0\0\0\0\x05stuck",
        b"\x07\x03\0\0\0\0\0\0\x6d{\"type\":\"urn:seawall:problem:unavailable\",\"title\":\"t\",\"status\":503,\"detail\":\"the engine went away\"}     ",
        b"\x03: alive\n\nid: 7\nevent: session.started\ndata: {\"a\":1}\r\n\ndata: {}\ndata: x\n\nevent: end\n\n",
        b"\xff\x00\0\0\0\xff\xff\xff\xffx",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

fn run(input: &[u8]) {
    let (pieces, whole) = cut(input);
    frames(&pieces, whole);
    messages(&pieces, whole);
    for terminal in [false, true] {
        engine(&pieces, whole, terminal);
    }
    written(&pieces, input);
}

fn frames(pieces: &[&[u8]], whole: &[u8]) {
    let (cut, once) = (outside::frames(pieces.iter().copied()), outside::frames([whole]));
    assert_eq!(cut, once);
    if let Ok(frames) = once {
        assert!(
            frames.iter().filter(|(kind, _)| *kind < 3).map(|(_, bytes)| bytes.len() + 8).sum::<usize>() <= whole.len()
        );
    }
}

fn messages(pieces: &[&[u8]], whole: &[u8]) {
    let once = outside::messages([whole]);
    assert_eq!(outside::messages(pieces.iter().copied()), once);
    assert!(once.iter().all(|(event, data)| !event.contains('\n') && !data.is_empty() && !data.contains('\n')));
}

/// What was written to each stream, and whether it ended well.
fn engine(pieces: &[&[u8]], whole: &[u8], terminal: bool) {
    let read = |pieces: &[&[u8]]| {
        let (chunks, end) = seawall_docker::frames(pieces.iter().map(|piece| Bytes::copy_from_slice(piece)), terminal);
        let of = |source| -> Vec<u8> {
            chunks.iter().filter(|chunk| chunk.source == source).flat_map(|chunk| chunk.bytes.to_vec()).collect()
        };
        (of(Source::Stdout), of(Source::Stderr), end.map_err(|error| error.kind()))
    };
    let once = read(&[whole]);
    assert_eq!(read(pieces), once);
    if terminal {
        assert_eq!(once, (whole.to_vec(), Vec::new(), Ok(())));
    }
}

/// Pieces as chunks of a log: written as the API writes them, and as the Engine does (which is the same, but for the
/// error), they read back, cut as the input is.
fn written(pieces: &[&[u8]], input: &[u8]) {
    let source = |at: usize| if at.is_multiple_of(3) { Source::Stderr } else { Source::Stdout };
    let chunk = |(at, piece): (usize, &&[u8])| LogChunk { source: source(at), bytes: Bytes::copy_from_slice(piece) };
    let chunks: Vec<_> = pieces.iter().enumerate().map(chunk).collect();
    let how = input.first().copied().unwrap_or(0);
    let wire: Vec<u8> = std::iter::once(how.rotate_left(3)).chain(chunks.iter().flat_map(outside::frame)).collect();
    let (pieces, whole) = cut(&wire);
    let kind = |source| if source == Source::Stdout { 1 } else { 2 };
    let expected: Vec<_> = chunks.iter().map(|chunk| (kind(chunk.source), chunk.bytes.clone())).collect();
    assert_eq!(outside::frames(pieces), Ok(expected));
    let (read, end) = seawall_docker::frames([Bytes::copy_from_slice(whole)], false);
    end.unwrap();
    assert!(read.into_iter().eq(chunks.into_iter().filter(|chunk| !chunk.bytes.is_empty())));
}
