//! The service as its callers see it: black box, over real sockets.

mod bad_input;
mod browser;
mod cli;
mod contract;
mod files;
mod links;
mod process;
mod reflection;
mod sidecar;
mod support;
mod uploads;
