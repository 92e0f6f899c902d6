//! The contract, compiled: messages, client and server of `proto/files/v1/files.proto`.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

tonic::include_proto!("files.v1");

/// The descriptors of the contract and all that it imports, for reflection.
pub const DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("files_descriptor");
