//! A way to a server that breaks where it is told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::support::Result;

/// After how many bytes of each direction a connection breaks; those that follow the last are whole.
type Cuts = Arc<Mutex<VecDeque<(u64, u64)>>>;

/// A way to the server that breaks as it is told.
pub struct Way {
    pub address: SocketAddr,
    cuts: Cuts,
    connections: Arc<AtomicU64>,
}

impl Way {
    pub async fn to(server: SocketAddr, cuts: &[(u64, u64)]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cuts: Cuts = Arc::new(Mutex::new(cuts.iter().copied().collect()));
        let connections = Arc::new(AtomicU64::new(0));
        let (left, count) = (Arc::clone(&cuts), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let cut =
                    left.lock().expect("the cuts").pop_front().unwrap_or((u64::MAX, u64::MAX));
                tokio::spawn(forward(client, server, cut));
            }
        });
        Ok(Self { address, cuts, connections })
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn assert_used_up(&self, breaks: u64) {
        assert!(self.cuts.lock().expect("the cuts").is_empty());
        assert!(self.connections() > breaks);
    }
}

async fn forward(client: TcpStream, server: SocketAddr, (up, down): (u64, u64)) -> Result {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = TcpStream::connect(server).await?.into_split();
    // Whichever direction comes to its cut first breaks both.
    tokio::select! {
        ended = copy(from_client, to_server, up) => ended,
        ended = copy(from_server, to_client, down) => ended,
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut left: u64) -> Result {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            break;
        }
        to.write_all(&buffer[..read]).await?;
        left -= read as u64;
    }
    Ok(())
}
