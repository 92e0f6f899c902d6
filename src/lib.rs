//! lib
#![allow(missing_docs)]
pub mod blob;
pub mod clock;
pub mod error;
pub mod file;
pub mod metadata;
pub mod signing;
pub mod sqlite;
pub mod storage;
pub mod upload;
