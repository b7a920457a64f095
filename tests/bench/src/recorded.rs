//! A Docker Engine that only ever says what was recorded: the list of so many containers.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Serves until the program ends.
pub(crate) struct Recorded {
    socket: PathBuf,
}

impl Recorded {
    /// Answers every list with these containers.
    pub(crate) fn serve(socket: PathBuf, containers: &[Value]) -> Result<Self> {
        let list: Arc<[u8]> = serde_json::to_vec(containers).context("write the list")?.into();
        let listener = UnixListener::bind(&socket).with_context(|| format!("listen at {}", socket.display()))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let list = Arc::clone(&list);
                std::thread::spawn(move || answer(stream, &list));
            }
        });
        Ok(Self { socket })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// One connection; it ends when the other side closes it.
fn answer(mut stream: UnixStream, list: &[u8]) -> io::Result<()> {
    let version = br#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;
    let mut pending = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        // None of the requests has a body.
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(pending.get(..end).unwrap_or_default()).into_owned();
            pending.drain(..end + 4);
            let target = head.split(' ').nth(1).unwrap_or_default();
            let body = if target.contains("/containers/json") { list } else { version };
            let head = format!(
                "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), body].concat())?;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => pending.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// A running container as an Engine of version 20.10 lists it.
pub(crate) fn container(store: &str, session: &str, number: u64) -> Value {
    let id = format!("{number:064x}");
    json!({
        "Id": id,
        "Names": [format!("/seawall-{store}-{session}-1")],
        "Image": "busybox",
        "ImageID": format!("sha256:{:064x}", 7),
        "Command": "sh -c 'while :; do echo tick; sleep 1; done'",
        "Created": 1_790_000_000 + number,
        "Ports": [{"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 30_000 + number % 10_000, "Type": "tcp"}],
        "Labels": {
            "seawall.store": store, "seawall.backend": "docker", "seawall.session": session,
            "seawall.incarnation": "1", "seawall.health": "0", "team": "night",
        },
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": format!("{:064x}", 9),
            "EndpointID": format!("{number:064x}"), "Gateway": "172.17.0.1", "IPAddress": "172.17.0.2",
            "IPPrefixLen": 16, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
            "MacAddress": "02:42:ac:11:00:02", "DriverOpts": null,
        }}},
        "Mounts": [],
    })
}
