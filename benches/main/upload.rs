//! Uploads over gRPC, by the generated client: it sends bytes that are at hand and hashes nothing.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use files::proto::{
    CreateSignedUrlRequest, DeleteFileRequest, File, GetUploadRequest, UploadFileRequest,
    UploadFinish, UploadStart, files_service_client::FilesServiceClient,
    upload_file_request::Message,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::{
    Bench,
    case::{Amount, Case, Run},
    content::{Content, MESSAGE_BYTES},
    scale::{SMALL_AT_ONCE, SMALL_BYTES, spoken},
};

/// Connections that the uploads are spread over.
const CONNECTIONS: usize = 4;
const USER_ID: &str = "bench";
const PURPOSE: &str = "user_data";
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A client with several connections. It is to be used at once: between two `block_on` nothing answers the
/// server's pings.
pub(crate) struct Uploader(Vec<FilesServiceClient<Channel>>);

impl Uploader {
    /// Connects to the gRPC service on this port.
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        Self::with_connections(port, CONNECTIONS).await
    }

    /// The same over so many connections.
    pub(crate) async fn with_connections(port: u16, count: usize) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(FilesServiceClient::new(endpoint.connect().await?));
        }
        Ok(Self(clients))
    }

    fn client(&self, number: usize) -> Result<FilesServiceClient<Channel>> {
        let client = self.0.get(number % self.0.len());
        client.cloned().context("no connection")
    }

    /// Uploads every content, so many at once, and checks each hash; returns the files' ids in order.
    pub(crate) async fn upload_all(
        &self,
        contents: &[Content],
        at_once: usize,
    ) -> Result<Vec<String>> {
        let upload = async |(number, content)| {
            let id = upload(self.client(number)?, content).await?;
            anyhow::Ok((number, id))
        };
        let uploads = stream::iter(contents.iter().enumerate()).map(upload);
        let mut ids: Vec<_> = uploads.buffer_unordered(at_once).try_collect().await?;
        ids.sort_unstable();
        Ok(ids.into_iter().map(|(_, id)| id).collect())
    }

    /// Deletes the files.
    pub(crate) async fn delete_all(&self, ids: &[String]) -> Result<()> {
        each(ids, async |number, id| {
            let request = DeleteFileRequest {
                file_id: id.clone(),
                user_id: USER_ID.to_owned(),
                ..DeleteFileRequest::default()
            };
            self.client(number)?.delete_file(request).await?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The paths and queries of signed URLs of the files.
    pub(crate) async fn sign_all(&self, ids: &[String]) -> Result<Vec<String>> {
        each(ids, async |number, id| {
            let request = CreateSignedUrlRequest {
                file_id: id.clone(),
                user_id: USER_ID.to_owned(),
                ttl: Some(LINK_LIFE.try_into()?),
                ..CreateSignedUrlRequest::default()
            };
            let link = self.client(number)?.create_signed_url(request).await?.into_inner();
            let path = link.url.find("/v1/").and_then(|at| link.url.get(at..));
            Ok(path.context("a URL without the path of links")?.to_owned())
        })
        .await
    }
}

/// Makes a call for each id, several at once; returns the outcomes in order.
async fn each<'a, T, F>(ids: &'a [String], call: impl Fn(usize, &'a String) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let calls = stream::iter(ids.iter().enumerate()).map(|(number, id)| call(number, id));
    calls.buffered(SMALL_AT_ONCE).try_collect().await
}

async fn upload(client: FilesServiceClient<Channel>, content: &Content) -> Result<String> {
    let (start, finish) = (start(content)?, UploadFinish { sha256: Bytes::new() });
    let data = content.pieces().map(Message::Data).chain([Message::Finish(finish)]);
    let file = send(client, start, data).await?;
    ensure!(file.sha256 == content.sha256, "{} arrived with another hash", content.name);
    Ok(file.id)
}

/// The start of an upload of `content`.
fn start(content: &Content) -> Result<UploadStart> {
    Ok(UploadStart {
        user_id: USER_ID.to_owned(),
        purpose: PURPOSE.to_owned(),
        filename: content.name.clone(),
        size_bytes: Some(i64::try_from(content.size_bytes)?),
        ..UploadStart::default()
    })
}

async fn send(
    mut client: FilesServiceClient<Channel>,
    start: UploadStart,
    rest: impl Iterator<Item = Message> + Send + 'static,
) -> Result<File> {
    let messages = std::iter::once(Message::Start(start)).chain(rest);
    let messages = messages.map(|message| UploadFileRequest { message: Some(message) });
    let answer = client.upload_file(stream::iter(messages)).await?.into_inner();
    answer.file.context("no file in the answer")
}

impl Uploader {
    /// Uploads a content that another call could go on with.
    pub(crate) async fn upload_resumable(&self, content: &Content) -> Result<String> {
        let upload_id = Uuid::new_v4().to_string();
        let start = UploadStart { upload_id, ..start(content)? };
        let finish = Message::Finish(UploadFinish { sha256: Bytes::new() });
        let data = content.pieces().map(Message::Data).chain([finish]);
        let file = send(self.client(0)?, start, data).await?;
        ensure!(file.sha256 == content.sha256, "{} arrived with another hash", content.name);
        Ok(file.id)
    }

    /// Uploads all of a content but its last message, and breaks off; what goes on with it.
    pub(crate) async fn begin(&self, content: &Content) -> Result<UploadStart> {
        let upload_id = Uuid::new_v4().to_string();
        let start = UploadStart { upload_id, ..start(content)? };
        let most = content.pieces().count() - 1;
        let data = content.pieces().take(most).map(Message::Data);
        ensure!(send(self.client(0)?, start.clone(), data).await.is_err(), "a file without an end");
        let known =
            GetUploadRequest { upload_id: start.upload_id.clone(), user_id: USER_ID.to_owned() };
        let known = self.client(0)?.get_upload(known).await?.into_inner();
        Ok(UploadStart { offset: known.persisted_size_bytes, ..start })
    }

    /// Sends what is left of a content that was begun.
    pub(crate) async fn go_on(&self, start: UploadStart, content: &Content) -> Result<String> {
        let done = usize::try_from(start.offset)? / MESSAGE_BYTES;
        let finish = Message::Finish(UploadFinish { sha256: content.sha256.clone() });
        let rest = content.pieces().skip(done).map(Message::Data).chain([finish]);
        Ok(send(self.client(0)?, start, rest).await?.id)
    }
}

/// Uploads of the large file and of the small ones.
pub(crate) fn cases(bench: &Bench) -> Vec<Case<'_>> {
    let (large, small) = (std::slice::from_ref(&bench.large), bench.small.as_slice());
    let (bytes, files) = (bench.scale.large_bytes, bench.scale.small_files);
    vec![
        Case::new(large_work(bytes), "files", Amount::Bytes(bytes), || measure(bench, large)),
        Case::new(small_work(files), "files", Amount::Pieces(files), || measure(bench, small)),
    ]
}

/// What uploading the large file is called.
pub(crate) fn large_work(bytes: u64) -> String {
    format!("upload {} × 1", spoken(bytes))
}

/// What uploading the small files is called.
pub(crate) fn small_work(files: usize) -> String {
    format!("upload {} × {files}, {SMALL_AT_ONCE} at once", spoken(SMALL_BYTES))
}

/// The first time does not count: memory that is fresh from the host can cost several times as much.
fn measure(bench: &Bench, contents: &[Content]) -> Result<Run> {
    let Bench { runtime, server, .. } = bench;
    let uploader = runtime.block_on(Uploader::connect(server.grpc))?;
    let mut ids = runtime.block_on(uploader.upload_all(contents, SMALL_AT_ONCE))?;
    runtime.block_on(uploader.delete_all(&ids))?;
    let run = Run::of(Some(&server.process), || {
        ids = runtime.block_on(uploader.upload_all(contents, SMALL_AT_ONCE))?;
        Ok(())
    })?;
    runtime.block_on(uploader.delete_all(&ids))?;
    Ok(run)
}
