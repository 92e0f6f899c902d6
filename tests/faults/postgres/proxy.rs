//! A TCP proxy before the server that can lose a COMMIT, or its answer, or everything.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

/// `COMMIT` as a simple query.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    None = 0,
    /// The next COMMIT is carried out and answered, but the answer is lost with the connection.
    LoseAnswer = 1,
    /// The next COMMIT is lost with the connection.
    LoseCommit = 2,
    /// The next COMMIT is sent on, and the client's side of the connection is lost at once.
    LeaveAlone = 3,
    /// Nothing gets through any more, in either direction.
    Swallow = 4,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    fault: AtomicU8,
    /// How many COMMITs a fault has hit.
    hits: AtomicUsize,
}

impl State {
    /// Takes the fault that the next COMMIT meets; it happens once.
    fn take(&self) -> u8 {
        let taken = self.fault.swap(0, Ordering::SeqCst);
        self.hits.fetch_add(usize::from(taken != 0), Ordering::SeqCst);
        taken
    }

    fn swallows(&self) -> bool {
        self.fault.load(Ordering::SeqCst) == Fault::Swallow as u8
    }
}

impl Proxy {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
                    continue;
                };
                client.set_nodelay(true).expect("a socket");
                server.set_nodelay(true).expect("a socket");
                relay(client, server, Arc::clone(&shared));
            }
        });
        Self { port, state }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        self.state.fault.store(fault as u8, Ordering::SeqCst);
    }

    pub(crate) fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }
}

fn relay(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cut = Arc::new((Notify::new(), Notify::new()));
    tokio::spawn(requests(from_client, to_server, Arc::clone(&state), Arc::clone(&cut)));
    tokio::spawn(answers(from_server, to_client, state, cut));
}

type Cut = Arc<(Notify, Notify)>;

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    state: Arc<State>,
    cut: Cut,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read) = client.read(&mut bytes).await {
        if read == 0 {
            break;
        }
        if state.swallows() {
            std::future::pending::<()>().await;
        }
        let fault = if bytes[..read].ends_with(COMMIT) { state.take() } else { 0 };
        if fault == Fault::LoseCommit as u8 {
            cut.1.notify_one();
            break;
        }
        if fault == Fault::LoseAnswer as u8 {
            // Noted before the answer can come.
            cut.0.notify_one();
        }
        if server.write_all(&bytes[..read]).await.is_err() {
            break;
        }
        if fault == Fault::LeaveAlone as u8 {
            cut.1.notify_one();
            // The server's side stays, as if its end of the line had not noticed.
            std::future::pending::<()>().await;
        }
    }
    cut.1.notify_one();
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    state: Arc<State>,
    cut: Cut,
) {
    let mut bytes = vec![0; 64 * 1024];
    let mut loses_next = false;
    loop {
        let read = tokio::select! {
            biased;
            () = cut.0.notified(), if !loses_next => { loses_next = true; continue }
            () = cut.1.notified() => break,
            read = server.read(&mut bytes) => read.unwrap_or(0),
        };
        if read == 0 || loses_next {
            break;
        }
        if state.swallows() {
            std::future::pending::<()>().await;
        }
        if client.write_all(&bytes[..read]).await.is_err() {
            break;
        }
    }
    // Dropping the writing half ends the client's side.
    let _ = client.shutdown().await;
}
