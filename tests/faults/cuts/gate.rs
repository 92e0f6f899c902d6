//! A way between two programs that can be shut, and turns for those who disturb everybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

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
