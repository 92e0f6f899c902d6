//! x

pub mod api;
pub mod blob;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod error;
pub mod file;
pub mod metadata;
pub mod proto;
pub mod server;
pub mod service;
pub mod signing;
pub mod sqlite;
pub mod storage;
pub mod sweep;
pub mod telemetry;
pub mod upload;
