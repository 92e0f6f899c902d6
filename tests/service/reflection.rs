//! Callers who know nothing but the address: `buf curl` finds the contract by reflection.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};
use tonic::transport::Channel;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Result, TestServer, tool};

struct Outcome {
    stdout: String,
    stderr: String,
}

async fn curl(server: &TestServer, method: &str, messages: &str, more: &[&str]) -> Result<Outcome> {
    let url = format!("http://{}/files.v1.FilesService/{method}", server.grpc);
    let mut child = Command::new(tool("node_modules/.bin/buf"))
        .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "@-"])
        .args(more)
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(messages.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok(Outcome {
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_a_link_comes_out_by_reflection_alone() -> Result {
    let server = TestServer::start().await?;
    let upload = r#"
        {"start": {"userId": "user-1", "purpose": "assistants", "filename": "a.txt"}}
        {"data": "aGVsbG8="}
        {"finish": {}}"#;
    for reflection in ["grpc-v1", "grpc-v1alpha"] {
        let reflection = ["--reflect-protocol", reflection];
        let uploaded = curl(&server, "UploadFile", upload, &reflection).await?;
        let answer: serde_json::Value = serde_json::from_str(&uploaded.stdout)?;
        assert_eq!(answer["file"]["sizeBytes"], "5", "{}", uploaded.stderr);
        let wish = format!("{{\"fileId\": {}}}", answer["file"]["id"]);
        let link = curl(&server, "CreateSignedUrl", &wish, &reflection).await?;
        let link: serde_json::Value = serde_json::from_str(&link.stdout)?;
        let (_, target) = link["url"].as_str().expect("a URL").split_at("http://localhost:".len());
        let (_, target) = target.split_once('/').expect("a path");
        assert_eq!(server.get(&format!("/{target}"), &[]).await?.body, b"hello");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_its_details() -> Result {
    let server = TestServer::start().await?;
    let refused = curl(&server, "GetFile", r#"{"fileId": "x"}"#, &[]).await?;
    for part in ["invalid_argument", "file_id", "google.rpc.ErrorInfo", "google.rpc.BadRequest"] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn the_types_of_error_details_can_be_looked_up() -> Result {
    let server = TestServer::start().await?;
    let channel = Channel::from_shared(format!("http://{}", server.grpc))?.connect().await?;
    for symbol in ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"] {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
        };
        let answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(tokio_stream::once(request))
            .await?;
        let answer = answers.into_inner().message().await?.and_then(|it| it.message_response);
        let found = matches!(answer, Some(MessageResponse::FileDescriptorResponse(_)));
        assert!(found, "{symbol}: {answer:?}");
    }
    Ok(())
}
