//! The control socket between daemon and supervisor, in both directions.

use std::fmt::Debug;

use seawall_supervisor::log::Stream;
use seawall_supervisor::protocol::{CommandEnd, MAX_MESSAGE, Malformed, Reply, Report, Request};
use seawall_supervisor::record::{Command, Interactive, Size};

use crate::pieces::cut;
use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "protocol", longest: 2048, tries: 2000, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    let command = Command {
        file: "/bin/true".to_owned(),
        arguments: vec!["true".to_owned()],
        env: vec![("A".to_owned(), "b".to_owned())],
        working_dir: None,
        user: None,
        timeout: Some(1),
    };
    let requests = [
        Request::Hello { min: 1, max: 2 },
        Request::Status,
        Request::Signal(9),
        Request::Kill,
        Request::CloseStdin,
        Request::Run(Box::new(command.clone().into())),
        Request::Run(Box::new(Interactive { command, terminal: Some(Size::USUAL), stdin: true })),
        Request::Write(b"in".to_vec()),
        Request::Resize(Size::USUAL),
        Request::Attach,
    ];
    let report = Report { version: "1.2.3".to_owned(), pid: Some(7), dropped: 1 << 40 };
    let replies = [
        Reply::Hello(1),
        Reply::Done,
        Reply::Status(report),
        Reply::Unsupported("no".to_owned()),
        Reply::Failed("why".to_owned()),
        Reply::Output(Stream::Stdout, b"out".to_vec()),
        Reply::Ended(CommandEnd::Signal(9)),
        Reply::InputClosed,
    ];
    let requests = requests.iter().flat_map(Request::encode);
    let replies = replies.iter().flat_map(Reply::encode);
    vec![
        std::iter::once(3).chain(requests).collect(),
        std::iter::once(0).chain(replies).collect(),
        vec![1, 5, 0, 0, 0, 0xff, 0, 1, 2, 3, 2, 0, 0, 0, 2, 0],
        vec![9, 0xff, 0xff, 0xff, 0xff, 1, 0],
    ]
}

fn run(input: &[u8]) {
    let (pieces, whole) = cut(input);
    check(&pieces, whole, Request::decode, Request::encode);
    check(&pieces, whole, Reply::decode, Reply::encode);
}

type Decode<M> = fn(&mut Vec<u8>) -> Option<Result<M, Malformed>>;

fn check<M: PartialEq + Debug>(pieces: &[&[u8]], whole: &[u8], decode: Decode<M>, encode: fn(&M) -> Vec<u8>) {
    let once = all(&[whole], decode);
    assert_eq!(all(pieces, decode), once);
    for message in once.into_iter().flatten() {
        let mut wire = encode(&message);
        // A text that was not UTF-8 has become longer.
        if wire.len() <= MAX_MESSAGE {
            assert_eq!(decode(&mut wire), Some(Ok(message)));
            assert!(wire.is_empty());
        }
    }
}

/// Every message; after a length that makes no sense there is none.
fn all<M>(pieces: &[&[u8]], decode: Decode<M>) -> Vec<Result<M, Malformed>> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(message) = decode(&mut buffer) {
            let lost = matches!(message, Err(Malformed::Length(_)));
            messages.push(message);
            if lost {
                return messages;
            }
        }
    }
    messages
}
