//! A registry on a loopback address that serves one image, for a private Engine to pull from.
//!
//! The image is the Engine's busybox and a layer on top that no other Engine has. It can be held back in the middle of that
//! layer, so that a pull is seen on its way.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::docker::Engine;

/// Of the layer on top.
const SIZE: usize = 4 << 20;
/// Between two looks of a connection at whether it is to go on.
const LOOK: Duration = Duration::from_millis(20);

/// The image `NAME:latest` of any name; those that begin with `private/` are refused.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Digest, media type and content.
    blobs: Vec<(String, &'static str, Vec<u8>)>,
    held: AtomicBool,
    /// Transfers that are held back now.
    waiting: AtomicUsize,
    over: AtomicBool,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

impl Registry {
    /// Begins to serve; the image is made of this Engine's.
    ///
    /// # Errors
    /// The image cannot be made.
    pub fn start(engine: &Engine) -> Result<Self> {
        let dir = tempfile::tempdir().context("a temporary directory")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { blobs: image(engine, dir.path())?, ..Shared::default() });
        let serving = Arc::clone(&shared);
        let accepts = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::Acquire) {
                    break;
                }
                let serving = Arc::clone(&serving);
                // A connection that breaks is the Engine's to tell of.
                connections.push(std::thread::spawn(move || _ = serve(&stream, &serving)));
            }
            connections.into_iter().for_each(|connection| _ = connection.join());
        });
        Ok(Self { address, shared, accepts: Some(accepts) })
    }

    /// The reference of an image of this name.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// From now on the layer on top comes by half, and then a byte at a time, until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::Release);
    }

    /// What was held back comes.
    pub fn release(&self) {
        self.shared.held.store(false, Ordering::Release);
    }

    /// How many wait for the rest of a layer that is held back; one that has gone does not.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Acquire)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(accepts) = self.accepts.take() {
            let _ = accepts.join();
        }
    }
}

/// The blobs of the image, its manifest first.
fn image(engine: &Engine, dir: &Path) -> Result<Vec<(String, &'static str, Vec<u8>)>> {
    let saved = dir.join("saved.tar");
    engine.docker(["save".as_ref(), "--output".as_ref(), saved.as_os_str(), "busybox:latest".as_ref()])?;
    run(Command::new("tar").arg("-C").arg(dir).arg("-xf").arg(&saved))?;
    let all: Value = serde_json::from_slice(&std::fs::read(dir.join("manifest.json"))?)?;
    let read = |pointer: &str| -> Result<Vec<u8>> {
        let name = all.pointer(pointer).and_then(Value::as_str).context("a name in what `docker save` wrote")?;
        std::fs::read(dir.join(name)).context("what `docker save` wrote")
    };
    let config: Value = serde_json::from_slice(&read("/0/Config")?)?;
    let base = read("/0/Layers/0")?;

    let mut bytes = vec![0; SIZE];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    std::fs::write(dir.join("filling"), bytes)?;
    let top = dir.join("top.tar");
    run(Command::new("tar").arg("-C").arg(dir).arg("-cf").arg(&top).arg("filling"))?;
    let top = std::fs::read(top)?;

    let (base_digest, top_digest) = (digest(dir, &base)?, digest(dir, &top)?);
    let config = json!({
        "architecture": config.get("architecture"), "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [base_digest, top_digest]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_digest = digest(dir, &config)?;
    let of = |media: &str, blob: &[u8], digest: &str| json!({"mediaType": media, "size": blob.len(), "digest": digest});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": of(CONFIG, &config, &config_digest),
        "layers": [of(LAYER, &base, &base_digest), of(LAYER, &top, &top_digest)],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let manifest_digest = digest(dir, &manifest)?;
    Ok(vec![
        (manifest_digest, MANIFEST, manifest),
        (config_digest, CONFIG, config),
        (base_digest, LAYER, base),
        (top_digest, LAYER, top),
    ])
}

fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn digest(dir: &Path, bytes: &[u8]) -> Result<String> {
    let file = dir.join("digested");
    std::fs::write(&file, bytes)?;
    let sum = run(Command::new("sha256sum").arg(file))?;
    let sum = String::from_utf8_lossy(&sum).split_whitespace().next().context("a sum")?.to_owned();
    Ok(format!("sha256:{sum}"))
}

/// Answers requests until the connection is closed.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match reader.read_until(b'\n', &mut head) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_idle(&error) && !shared.over.load(Ordering::Acquire) => {}
                Err(error) => return Err(error),
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        answer(stream, shared, method == "HEAD", path)?;
    }
}

fn is_idle(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn answer(mut stream: &TcpStream, shared: &Shared, head_only: bool, path: &str) -> std::io::Result<()> {
    let refuse = |mut stream: &TcpStream, status: &str, code: &str, message: &str| {
        let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
        let length = body.len();
        let body = if head_only { "" } else { &body };
        let kind = "Content-Type: application/json";
        write!(stream, "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    if rest.is_empty() {
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 0\r\n\r\n"
        );
    }
    if rest.starts_with("private/") {
        return refuse(stream, "403 Forbidden", "DENIED", "requested access to the resource is denied");
    }
    let wanted = path.rsplit('/').next().unwrap_or_default();
    let blob = shared.blobs.iter().enumerate().find(|(at, (digest, ..))| {
        digest == wanted || (*at == 0 && path.contains("/manifests/") && wanted == "latest")
    });
    let Some((at, (digest, media, bytes))) = blob else {
        return refuse(stream, "404 Not Found", "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let length = bytes.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: {length}\r\n\r\n"
    )?;
    if head_only {
        return Ok(());
    }
    let (first, mut rest) = bytes.split_at(length / 2);
    stream.write_all(first)?;
    if at + 1 == shared.blobs.len() {
        rest = held_back(stream, shared, rest)?;
    }
    stream.write_all(rest)
}

/// For as long as it is held back and the other side is there; gives what is left then. An Engine closes a connection that
/// it has given up only when something comes, so something does.
fn held_back<'a>(mut stream: &TcpStream, shared: &Shared, mut rest: &'a [u8]) -> std::io::Result<&'a [u8]> {
    shared.waiting.fetch_add(1, Ordering::AcqRel);
    let waited = loop {
        if !shared.held.load(Ordering::Acquire) || shared.over.load(Ordering::Acquire) {
            break Ok(rest);
        }
        let (byte, more) = rest.split_at(rest.len().min(1));
        if let Err(error) = stream.write_all(byte) {
            break Err(error);
        }
        rest = more;
        std::thread::sleep(LOOK);
    };
    shared.waiting.fetch_sub(1, Ordering::AcqRel);
    waited
}
