//! The service as its callers see it: black box, over real sockets.

#![allow(missing_docs, unreachable_pub, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bad_input;
mod balanced;
mod browser;
mod cli;
mod cli_lifecycle;
mod client;
mod contract;
mod files;
mod lifecycle;
mod lifecycle_bad_input;
mod links;
mod migrate_storage;
#[allow(dead_code)]
#[path = "../servers/postgres.rs"]
mod postgres_server;
mod process;
mod reflection;
mod replicas;
mod resume;
mod s3;
#[allow(dead_code)]
#[path = "../servers/samba.rs"]
mod samba_server;
#[allow(dead_code)]
#[path = "../servers/seaweed.rs"]
mod seaweed;
mod sidecar;
mod smb;
mod support;
mod upkeep;
mod upload_url;
mod uploads;
mod way;
