//! A connection that is held at a byte, or at a moment, and then goes on, or breaks.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::oneshot,
    time::timeout,
};

/// How long answers still come once nothing more is sent.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Both sides learn it by an RST, and what was on its way is lost.
    Reset,
    /// Nothing more is sent, and for a while answers still come.
    HalfClose,
}

/// The way of one connection to a server.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    /// Tells when so many bytes have been sent: nothing more is until there is an order, or can be none.
    pub(super) held: oneshot::Receiver<()>,
    /// Takes how the connection is to break; dropped, it lets everything pass.
    pub(super) order: oneshot::Sender<Break>,
}

/// What a relay hears and tells.
struct Hold {
    at_byte: u64,
    held: oneshot::Sender<()>,
    order: oneshot::Receiver<Break>,
}

impl Wire {
    pub(super) async fn to(server: SocketAddr, hold_at_byte: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ((held, is_held), (order, ordered)) = (oneshot::channel(), oneshot::channel());
        let hold = Hold { at_byte: hold_at_byte, held, order: ordered };
        tokio::spawn(async move {
            let Ok((client, _)) = listener.accept().await else { return };
            let Ok(server) = TcpStream::connect(server).await else { return };
            // A socket that has failed is a connection that is broken already.
            let _ = relay(client, server, hold).await;
        });
        Self { address, held: is_held, order }
    }
}

async fn relay(mut client: TcpStream, mut server: TcpStream, hold: Hold) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut up = Copy::new(from_client, to_server);
        let mut down = Copy::new(from_server, to_client);
        let answers = down.run(u64::MAX);
        tokio::pin!(answers);
        tokio::select! {
            ended = up.run_until_broken(hold) => match ended {
                Some(Break::Reset) => true,
                _ => {
                    let _ = timeout(ANSWER_TIME, answers).await;
                    false
                }
            },
            () = &mut answers => false,
        }
    };
    if is_reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// One direction of a connection.
struct Copy<'s> {
    from: ReadHalf<'s>,
    to: WriteHalf<'s>,
    passed: u64,
    buffer: Vec<u8>,
}

impl<'s> Copy<'s> {
    fn new(from: ReadHalf<'s>, to: WriteHalf<'s>) -> Self {
        Self { from, to, passed: 0, buffer: vec![0; 16 * 1024] }
    }

    /// Passes bytes on, up to this one or to the end.
    async fn run(&mut self, end: u64) {
        while self.passed < end {
            let most =
                self.buffer.len().min(usize::try_from(end - self.passed).unwrap_or(usize::MAX));
            match self.from.read(&mut self.buffer[..most]).await {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if self.to.write_all(&self.buffer[..read]).await.is_err() {
                        return;
                    }
                    self.passed += read as u64;
                }
            }
        }
    }

    /// The same with a hold on the way. Ends nothing by itself that is to be reset.
    async fn run_until_broken(&mut self, hold: Hold) -> Option<Break> {
        let Hold { at_byte, held, order } = hold;
        // None: nothing will be ordered.
        let order = order.map(Result::ok).shared();
        let mut how = tokio::select! {
            Some(how) = order.clone() => Some(how),
            () = self.run(at_byte) => None,
        };
        if how.is_none() && self.passed == at_byte {
            let _ = held.send(());
            how = order.await;
            if how.is_none() {
                self.run(u64::MAX).await;
            }
        }
        if how != Some(Break::Reset) {
            let _ = self.to.shutdown().await;
        }
        how
    }
}
