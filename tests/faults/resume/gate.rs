//! A way between two programs: broken after so many bytes for one connection, or shut for all of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, oneshot, watch},
};

/// How a connection ends once enough has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Both directions, at once.
    Reset,
    /// What is sent; answers still come.
    HalfClose,
}

/// Where one connection can be made that breaks after `bytes`.
pub(super) async fn breaking(server: SocketAddr, bytes: u64, how: Break) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let Ok((client, _)) = listener.accept().await else { return };
        let Ok(server) = TcpStream::connect(server).await else { return };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let down = tokio::spawn(copy(from_server, to_client, u64::MAX));
        copy(from_client, to_server, bytes).await;
        if how == Break::HalfClose {
            // The server may take its time to notice; the client may not.
            let _ = tokio::time::timeout(Duration::from_millis(300), down).await;
        } else {
            down.abort();
        }
    });
    address
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut left: u64) {
    let mut buffer = vec![0; 32 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match from.read(&mut buffer[..most]).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
                left -= read as u64;
            }
        }
    }
}

/// A way that is open until it is shut: then every connection breaks, and none is made.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) port: u16,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub(super) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (open, is_open) = watch::channel(true);
        let own = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut is_open = is_open.clone();
                if !*is_open.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await;
                    let (Ok(mut server), mut client) = (server, client) else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port: own, open: Arc::new(open) }
    }

    /// Shuts the way for a moment.
    pub(super) async fn shut(&self) {
        self.open.send_replace(false);
        tokio::time::sleep(Duration::from_millis(60)).await;
        self.open.send_replace(true);
    }
}

/// Tells when a stream of messages has come to where it is to be cut.
pub(super) fn signal() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}

/// Lets one at a time do what disturbs everybody.
#[derive(Default)]
pub(super) struct Turn {
    busy: AtomicBool,
    free: Notify,
}

impl Turn {
    pub(super) async fn take(&self) {
        while self.busy.swap(true, Ordering::AcqRel) {
            self.free.notified().await;
        }
    }

    pub(super) fn end(&self) {
        self.busy.store(false, Ordering::Release);
        self.free.notify_one();
    }
}
