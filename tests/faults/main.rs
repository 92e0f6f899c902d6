//! What happens when things fail: every effect in turn, before and after it took place; a killed server; a
//! full disk.

#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod cuts;
mod effects;
mod failing;
mod full_disk;
mod killed;
mod postgres;
#[allow(dead_code)]
#[path = "../servers/postgres.rs"]
mod postgres_server;
mod replicas;
mod s3;
#[allow(dead_code)]
#[path = "../servers/samba.rs"]
mod samba_server;
#[allow(dead_code)]
#[path = "../servers/seaweed.rs"]
mod seaweed;
mod smb;
mod upkeep;
