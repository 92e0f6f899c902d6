//! Stands between the storage and a server that signs but does not encrypt, and cuts the connection at a request
//! or at the answer to it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

pub(crate) const FLUSH: u16 = 0x0007;
pub(crate) const SET_INFO: u16 = 0x0011;

/// Where the connection is cut, the next time.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    /// The server never sees the request.
    Request(u16),
    /// The server does it, and nobody hears of it.
    Answer(u16),
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    cut: Arc<AtomicU32>,
    is_open: watch::Sender<bool>,
}

const NOWHERE: u32 = u32::MAX;
const ANSWER: u32 = 0x1_0000;

impl Proxy {
    /// In front of the server at `port`.
    pub(crate) async fn start(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (is_open, mut may_pass) = watch::channel(true);
        let cut = Arc::new(AtomicU32::new(NOWHERE));
        let proxy = Self { port: listener.local_addr()?.port(), cut: Arc::clone(&cut), is_open };
        tokio::spawn(async move {
            while may_pass.wait_for(|is_open| *is_open).await.is_ok()
                && let Ok((client, _)) = listener.accept().await
            {
                tokio::spawn(forward(client, port, Arc::clone(&cut)));
            }
        });
        Ok(proxy)
    }

    pub(crate) fn cut_once(&self, cut: Cut) {
        let cut = match cut {
            Cut::Request(command) => u32::from(command),
            Cut::Answer(command) => u32::from(command) | ANSWER,
        };
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// Lets new connections wait, or pass.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    /// Whether what was to be cut has come.
    pub(crate) fn has_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst) == NOWHERE
    }
}

async fn forward(client: TcpStream, port: u16, cut: Arc<AtomicU32>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever direction ends takes the other one, and with it both sockets, along.
    tokio::select! {
        _ = pass(from_client, to_server, 0, &cut) => {}
        _ = pass(from_server, to_client, ANSWER, &cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: u32,
    cut: &AtomicU32,
) -> std::io::Result<()> {
    loop {
        let len = from.read_u32().await?;
        let mut frame = vec![0; len as usize];
        from.read_exact(&mut frame).await?;
        let command = u32::from(u16::from_le_bytes([frame[12], frame[13]])) | direction;
        let found = cut.compare_exchange(command, NOWHERE, Ordering::SeqCst, Ordering::SeqCst);
        if found.is_ok() {
            return Ok(());
        }
        to.write_u32(len).await?;
        to.write_all(&frame).await?;
    }
}
