//! The edge: decode, call the service, encode. No decision is taken here that is not about a wire format.

mod accept;
mod decode;
pub mod grpc;
pub mod http;
pub mod status;
