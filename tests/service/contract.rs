//! The contract: every RPC of the descriptor is answered as the README says.

use bytes::{Buf, BufMut};
use files::proto::DESCRIPTOR_SET;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::support::{Result, TestServer};

/// Messages as their raw bytes.
#[derive(Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(
        &mut self,
        item: Vec<u8>,
        out: &mut EncodeBuf<'_>,
    ) -> std::result::Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(
        &mut self,
        bytes: &mut DecodeBuf<'_>,
    ) -> std::result::Result<Option<Vec<u8>>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining()).to_vec()))
    }
}

fn methods() -> Result<Vec<MethodDescriptorProto>> {
    let set = FileDescriptorSet::decode(DESCRIPTOR_SET)?;
    let services = set.file.into_iter().flat_map(|file| file.service);
    Ok(services.flat_map(|service| service.method).collect())
}

/// Calls a method with one empty message; every refusal has a reason.
async fn call(channel: &Channel, method: &MethodDescriptorProto) -> Result<Code> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    let path = format!("/files.v1.FilesService/{}", method.name()).parse()?;
    let message = Request::new(tokio_stream::once(Vec::new()));
    let outcome = if method.server_streaming() {
        grpc.streaming(message, path, RawCodec).await.map(drop)
    } else {
        grpc.client_streaming(message, path, RawCodec).await.map(drop)
    };
    Ok(outcome.map_or_else(
        |status| {
            assert!(status.get_details_error_info().is_some(), "{status:?}");
            status.code()
        },
        |()| Code::Ok,
    ))
}

#[tokio::test]
async fn every_rpc_is_answered_as_the_readme_says() -> Result {
    let server = TestServer::start().await?;
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?.connect().await?;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme)?;
    let methods = methods()?;
    assert_eq!(methods.len(), 18);
    for method in &methods {
        let expected = match method.name() {
            "GetCapabilities" => Code::Ok,
            _ => Code::InvalidArgument,
        };
        assert_eq!(call(&channel, method).await?, expected, "{}", method.name());
        assert!(readme.contains(method.name()), "{} is not in README.md", method.name());
    }
    Ok(())
}

#[tokio::test]
async fn health_is_served_for_the_server_and_the_service() -> Result {
    let server = TestServer::start().await?;
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?.connect().await?;
    for service in ["", "files.v1.FilesService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await?.into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    Ok(())
}
