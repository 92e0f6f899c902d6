//! A proxy before an S3 store that answers in its place now and then, or loses a request, or an answer.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

const BUSY: &str = "<Error><Code>SlowDown</Code><Message>injected</Message></Error>";
const INTERNAL: &str = "<Error><Code>InternalError</Code><Message>injected</Message></Error>";
const CONFLICT: &str =
    "<Error><Code>ConditionalRequestConflict</Code><Message>injected</Message></Error>";
const UNMET: &str = "<Error><Code>PreconditionFailed</Code><Message>injected</Message></Error>";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    Error500,
    Error503,
    Error503RetryAfter,
    /// The store never hears of it.
    ResetBefore,
    /// The store carries it out, and nobody hears of that.
    ResetAfter,
    /// Carried out, and answered by an error.
    Error500After,
    /// A 200 whose body is an error; not carried out.
    ErrorInside200,
    /// Nothing comes back for as long as the client waits.
    Stall,
    Conflict409,
    Unmet412,
}

/// The few completions meet what matters for them.
const COMPLETION: [Fault; 5] = [
    Fault::ErrorInside200,
    Fault::ResetAfter,
    Fault::Error500After,
    Fault::ResetBefore,
    Fault::Conflict409,
];

const ANY: [Fault; 11] = [
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Error500After,
    Fault::Error503,
    Fault::Error500,
    Fault::Error503,
    Fault::Error503RetryAfter,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Error500After,
    Fault::Stall,
];

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    upstream: u16,
    on: AtomicBool,
    seen: AtomicU64,
    hit: Mutex<Vec<Fault>>,
    off: Notify,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            upstream,
            on: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            hit: Mutex::default(),
            off: Notify::new(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = state.serve(client).await;
                });
            }
        });
        Self { port, state }
    }

    pub(crate) fn turn(&self, on: bool) {
        self.state.on.store(on, Ordering::SeqCst);
        if !on {
            self.state.off.notify_waiters();
        }
    }

    /// The faults that took place.
    pub(crate) fn hit(&self) -> Vec<Fault> {
        self.state.hit.lock().expect("no panic").clone()
    }
}

/// A request: its head, and its body as far as it came with it.
struct Request {
    head: String,
    body: Vec<u8>,
    length: usize,
}

impl State {
    /// One request for each connection.
    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut request = read_head(&mut client).await?;
        while request.body.len() < request.length {
            let mut piece = vec![0; 64 * 1024];
            let read = client.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            request.body.extend_from_slice(&piece[..read]);
        }
        let fault = self.draw(&request.head);
        if let Some(fault) = fault {
            self.hit.lock().expect("no panic").push(fault);
        }
        let refusal = |status: &str, more: &str, body: &str| {
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n{more}Content-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        };
        let answer = match fault {
            None => return self.pass_on(&request, Some(&mut client)).await,
            Some(Fault::ResetBefore) => return Ok(()),
            Some(Fault::ResetAfter) => return self.pass_on(&request, None).await,
            Some(Fault::Stall) => {
                // Until the client has given up, or the faults are over.
                tokio::select! {
                    _ = client.read_u8() => {}
                    () = self.off.notified() => {}
                }
                return Ok(());
            }
            Some(Fault::Error500After) => {
                self.pass_on(&request, None).await?;
                refusal("500 Internal Server Error", "", INTERNAL)
            }
            Some(Fault::Error500) => refusal("500 Internal Server Error", "", INTERNAL),
            Some(Fault::Error503) => refusal("503 Slow Down", "", BUSY),
            Some(Fault::Error503RetryAfter) => refusal("503 Slow Down", "Retry-After: 1\r\n", BUSY),
            Some(Fault::ErrorInside200) => refusal("200 OK", "", INTERNAL),
            Some(Fault::Conflict409) => refusal("409 Conflict", "", CONFLICT),
            Some(Fault::Unmet412) => refusal("412 Precondition Failed", "", UNMET),
        };
        client.write_all(answer.as_bytes()).await
    }

    /// Every seventh request or so, and every second completion, meets a fault that suits it; which, its
    /// number decides.
    fn draw(&self, head: &str) -> Option<Fault> {
        if !self.on.load(Ordering::SeqCst) {
            return None;
        }
        let number = self.seen.fetch_add(1, Ordering::SeqCst);
        let drawn = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let completes = head.starts_with("POST ") && head.contains("uploadId=");
        if completes && drawn.is_multiple_of(2) {
            return Some(COMPLETION[(drawn / 2) as usize % COMPLETION.len()]);
        }
        if !drawn.is_multiple_of(7) {
            return None;
        }
        let mut suit = ANY.to_vec();
        if head.to_ascii_lowercase().contains("\r\nif-none-match:") {
            suit.extend([Fault::Conflict409, Fault::Unmet412]);
        }
        Some(suit[(drawn / 7) as usize % suit.len()])
    }

    /// Asks the store, and gives its answer to the client, if there is one to hear it.
    async fn pass_on(
        &self,
        request: &Request,
        client: Option<&mut TcpStream>,
    ) -> std::io::Result<()> {
        let mut store = TcpStream::connect(("127.0.0.1", self.upstream)).await?;
        store.write_all(request.head.as_bytes()).await?;
        store.write_all(&request.body).await?;
        match client {
            Some(client) => tokio::io::copy(&mut store, client).await.map(drop),
            None => tokio::io::copy(&mut store, &mut tokio::io::sink()).await.map(drop),
        }
    }
}

/// Reads a head and makes the connection end with the answer; a client that waits for leave to send its body
/// gets it.
async fn read_head(client: &mut TcpStream) -> std::io::Result<Request> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 8192];
        match client.read(&mut piece).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => read.extend_from_slice(&piece[..bytes]),
        }
    };
    let body = read.split_off(end + 4);
    let text = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut length = 0;
    let mut head = String::new();
    for line in text.split("\r\n") {
        let name = line.to_ascii_lowercase();
        if let Some(value) = name.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if name.starts_with("expect:") {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        } else if !name.starts_with("connection:") {
            head.push_str(line);
            head.push_str("\r\n");
        }
    }
    head.push_str("connection: close\r\n\r\n");
    Ok(Request { head, body, length })
}
