//! The Docker capability against whatever answers at the Engine's socket. The input is the answers, one a connection,
//! with a line of `--` between them; the first two bytes say what is asked and how. Whatever comes back, the call ends in
//! an answer that can be true or in a typed error.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use seawall_backend::Error;
use seawall_docker::{Docker, DockerGrant, Scope};
use seawall_model::{LogOptions, Signal, StoreId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::guest::{executor, found_is_sound, key, page_is_sound, status_is_sound};
use crate::{Run, Target};

pub(crate) const TARGET: Target = Target { name: "engine", longest: 4096, tries: 150, seeds, make };

const BETWEEN: &[u8] = b"\n--\n";
const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;
/// The Engine's id of a container.
const ID: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn seeds() -> Vec<Vec<u8>> {
    let json = |status: u16, body: &str| {
        format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let version = json(200, VERSION);
    let labels = r#""Labels":{"seawall.store":"0123abcd","seawall.backend":"docker","seawall.session":"0123456789abcdef","seawall.incarnation":"1"}"#;
    let list = format!(
        r#"[{{"Id":"{ID}","Names":["/seawall-0123abcd-0123456789abcdef-1"],"State":"running","Created":7,{labels}}}]"#
    );
    let one = format!(
        r#"{{"Id":"{ID}","Name":"/seawall-0123abcd-0123456789abcdef-1","Created":"2026-01-02T03:04:05.6Z","Config":{{"Tty":false,{labels}}},"State":{{"Status":"exited","ExitCode":137,"OOMKilled":true,"FinishedAt":"2026-01-02T03:04:07Z","StartedAt":"0001-01-01T00:00:00Z"}}}}"#
    );
    let logs =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\u{1}\0\0\0\0\r\n7\r\n\0\0\u{4}out\n\r\n0\r\n\r\n";
    let ended = list.replace("running", "exited");
    let script = |what: u8, answers: &[&str]| [&[what, 0xff][..], answers.join("\n--\n").as_bytes()].concat();
    vec![
        script(
            0,
            &[
                &version,
                &version,
                &json(
                    200,
                    r#"{"NCPU":2,"MemTotal":1024,"MemoryLimit":true,"CgroupVersion":"2","OperatingSystem":"x"}"#,
                ),
            ],
        ),
        script(1, &[&version, &json(200, &list)]),
        script(1, &[&version, &json(200, &ended), &json(200, &one)]),
        script(2, &[&version, &json(200, &ended), &json(404, r#"{"message":"gone"}"#)]),
        script(3, &[&version, &json(200, &one), logs]),
        script(4, &[&version, &json(200, &one), &json(204, "")]),
        script(5, &[&version, &json(200, &one), &json(409, r#"{"message":"it runs"}"#)]),
        script(6, &[&version, &json(200, &one), &json(304, "")]),
        script(1, &[&version, "HTTP/1.1 503 x\r\nconnection: close\r\n\r\nbusy"]),
    ]
}

fn make() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let executor = executor();
    let listener = {
        let _inside = executor.enter();
        UnixListener::bind(&socket).unwrap()
    };
    Box::new(move |input| {
        // The folder goes when this does.
        let _ = &folder;
        let (head, rest) = input.split_at(input.len().min(2));
        let [what, how] = [head.first().copied().unwrap_or(0), head.get(1).copied().unwrap_or(0)];
        executor.block_on(async {
            let call = ask(&socket, what, how);
            // Whoever answers does so at once; the Engine's silence is the caller's deadline's business.
            tokio::select! {
                biased;
                asked = tokio::time::timeout(Duration::from_secs(20), call) => asked.expect("it ends by itself"),
                () = answer(&listener, rest) => {}
            }
        });
    })
}

/// One answer for each connection; a connection without one is closed.
async fn answer(listener: &UnixListener, script: &[u8]) {
    let mut answers = VecDeque::new();
    let mut rest = script;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        answers.push_back(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    answers.push_back(rest);
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(answers.pop_front().unwrap_or_default()).await;
        let _ = stream.shutdown().await;
    }
}

async fn ask(socket: &std::path::Path, what: u8, how: u8) {
    let store: StoreId = "0123abcd".parse().unwrap();
    let scope = Scope { store, backend: "docker".parse().unwrap(), protected: Vec::<PathBuf>::new() };
    let grant = DockerGrant { host: Some(format!("unix://{}", socket.display())), ..DockerGrant::default() };
    let docker = Docker::new(scope, grant);
    let mut key = key(1);
    key.handle = (how & 1 == 0).then(|| ID.as_bytes().to_vec());
    let ended = match what % 7 {
        0 => docker.ping().await.map(drop),
        1 => {
            let keys = [key.clone(), super::guest::key(2)].map(|key| seawall_model::Key { handle: None, ..key });
            docker.inspect(&keys).await.map(|found| found_is_sound(&found, 2))
        }
        2 => docker.list(None).await.map(|page| page_is_sound(&page, None)),
        3 => {
            let options = LogOptions { stderr: how & 2 != 0, timestamps: how & 4 != 0, ..LogOptions::default() };
            match docker.logs(&key, &options).await {
                Ok(mut logs) => {
                    while let Some(chunk) = logs.next().await {
                        let Ok(chunk) = chunk else { break };
                        assert!(!chunk.bytes.is_empty());
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
        4 => docker.signal(&key, Signal::TERM).await,
        5 => docker.remove(&key, how & 2 != 0).await,
        _ => docker.start(&key).await.map(|status| status_is_sound(&status)),
    };
    if let Err(error) = ended {
        assert!(!matches!(error, Error::Fault(_)), "{error}");
        assert!(error.to_string().len() < 64 << 10, "{} bytes of error", error.to_string().len());
    }
}
