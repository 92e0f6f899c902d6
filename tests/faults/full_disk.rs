//! A disk that fills up in the middle of uploads: a small file system in memory stands for it.

use std::{path::Path, process::Command, sync::Arc};

use files::{
    clock::SystemClock,
    config::{Config, Sources},
    proto::{
        DeleteFileRequest, UploadFileRequest, UploadFinish, UploadStart,
        files_service_client::FilesServiceClient, upload_file_request::Message,
    },
    server::{Role, Server},
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

type Result<T = ()> = anyhow::Result<T>;

/// A mounted file system of its own size; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mebibytes: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let status = mount.status()?;
        anyhow::ensure!(status.success(), "cannot mount a tmpfs: this test runs as root");
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

type Client = FilesServiceClient<Channel>;

async fn upload(client: &mut Client, mebibytes: usize) -> std::result::Result<String, Status> {
    let start = UploadStart {
        user_id: "u".into(),
        purpose: "assistants".into(),
        filename: "a.txt".into(),
        ..Default::default()
    };
    let chunk = || Message::Data(vec![b'x'; 1 << 20].into());
    let messages = std::iter::once(Message::Start(start))
        .chain((0..mebibytes).map(|_| chunk()))
        .chain([Message::Finish(UploadFinish::default())])
        .map(|message| UploadFileRequest { message: Some(message) });
    let messages: Vec<_> = messages.collect();
    let answer = client.upload_file(futures_util::stream::iter(messages)).await?;
    Ok(answer.into_inner().file.expect("a file").id)
}

fn purge(file_id: String) -> DeleteFileRequest {
    DeleteFileRequest { file_id, purge: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_and_recovers() -> Result {
    let disk = SmallDisk::mount(48)?;
    let variables = [
        ("FILES__DATA_DIR", disk.path().join("data").display().to_string()),
        ("FILES__GRPC__LISTEN", "127.0.0.1:0".to_owned()),
        ("FILES__HTTP__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let config = Config::load(Sources { variables, ..Default::default() })?;
    let server = Server::start_at(config, Role::All, Arc::new(SystemClock)).await?;
    let address = server.grpc.expect("a listener");
    let mut client = Client::connect(format!("http://{address}")).await?;

    let kept = upload(&mut client, 20).await?;
    for _ in 0..3 {
        let refused = upload(&mut client, 40).await.expect_err("no space for it");
        let reason = refused.get_details_error_info().map(|info| info.reason);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert_eq!(reason.as_deref(), Some("STORAGE_FULL"));
        let staging = disk.path().join("data/blobs/staging");
        assert_eq!(staging.read_dir()?.count(), 0, "something is left behind");
    }
    // Even with not a byte left, deleting works and makes room.
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    drop(file);
    let outcome = upload(&mut client, 1).await;
    assert_eq!(outcome.map_err(|status| status.code()), Err(Code::ResourceExhausted));
    client.delete_file(purge(kept)).await?;
    let kept = upload(&mut client, 15).await?;
    std::fs::remove_file(filler)?;
    // What it took has been given back: there is room for what fits.
    let second = upload(&mut client, 20).await?;
    for file_id in [kept, second] {
        client.delete_file(purge(file_id)).await?;
    }
    upload(&mut client, 40).await?;
    server.shutdown_token().cancel();
    server.wait().await
}
