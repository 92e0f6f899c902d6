//! What every storage backend and every database promises: one line enrols another one.

#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

/// Makes each promise a test of one backend.
macro_rules! promises {
    ($backend:ident: $($promise:ident),+ $(,)?) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() -> super::Result {
                    super::$promise(super::$backend().await?).await
                }
            )+
        }
    };
}

mod cached;
#[path = "../servers/many_rows.rs"]
mod many_rows;
mod metadata;
mod model;
mod plans;
#[allow(dead_code)]
#[path = "../servers/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "../servers/samba.rs"]
mod samba_server;
#[allow(dead_code)]
#[path = "../servers/seaweed.rs"]
mod seaweed;
mod storage;
mod upgrade;
