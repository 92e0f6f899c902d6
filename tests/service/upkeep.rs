//! Sweeping, checking, backing up and restoring from the command line, beside a running server.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, SystemTime},
};

use files::proto::{
    CreateSignedUrlRequest, DeleteFileRequest, DownloadFileRequest, GetFileRequest, UploadStart,
};
use serde_json::Value;
use tokio::process::Command;
use tonic::Code;

use crate::support::{Result, TestServer, assert_refused, data, finish, message, start, upload};

/// What a command wrote and how it ended.
struct Ran {
    code: i32,
    lines: Vec<Value>,
    errors: String,
}

impl Ran {
    /// The values of one field, in order of their text.
    fn all(&self, field: &str) -> Vec<&str> {
        let mut all: Vec<_> = self.lines.iter().filter_map(|line| line[field].as_str()).collect();
        all.sort_unstable();
        all
    }

    fn last(&self) -> &Value {
        self.lines.last().unwrap_or(&Value::Null)
    }
}

async fn run(data: &Path, arguments: &[&str]) -> Result<Ran> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
    command.env_clear().args(arguments).arg("--data").arg(data).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.kill_on_drop(true).output().await?;
    let lines = String::from_utf8(stdout)?;
    Ok(Ran {
        code: status.code().unwrap_or(-1),
        lines: lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?,
        errors: String::from_utf8(stderr)?,
    })
}

async fn succeed(data: &Path, arguments: &[&str]) -> Result<Ran> {
    let ran = run(data, arguments).await?;
    assert_eq!(ran.code, 0, "{arguments:?}: {} {:?}", ran.errors, ran.lines);
    Ok(ran)
}

fn database(data: &Path, name: &str) -> Result<rusqlite::Connection> {
    Ok(rusqlite::Connection::open(data.join(name))?)
}

/// The blob of a file, as 32 hex digits.
fn blob_key(server: &TestServer, id: &str) -> Result<String> {
    let select = "SELECT lower(hex(blob_key)) FROM files WHERE file_id = ?1";
    Ok(database(&server.data, "metadata.db")?.query_row(select, [id], |row| row.get(0))?)
}

fn blob_path(server: &TestServer, key: &str) -> PathBuf {
    server.data.join("blobs").join(&key[..2]).join(key)
}

/// The server's own sweeper stays out of the way.
const NO_SWEEPS: [(&str, &str); 1] = [("FILES__SWEEP__INTERVAL", "10h")];

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 3600);

/// A blob that no record names, two days old.
fn old_stray(data: &Path, n: usize) -> Result<PathBuf> {
    let key = format!("{n:032x}");
    let path = data.join("blobs").join(&key[..2]).join(&key);
    fs::write(&path, "stray")?;
    File::options().write(true).open(&path)?.set_modified(SystemTime::now() - TWO_DAYS)?;
    Ok(path)
}

async fn content(server: &TestServer, id: &str) -> std::result::Result<Vec<u8>, tonic::Status> {
    let mut client = server.client().await.expect("a connection");
    let request = DownloadFileRequest { file_id: id.to_owned(), ..Default::default() };
    let mut messages = client.download_file(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(message) = messages.message().await? {
        if let Some(files::proto::download_file_response::Message::Data(data)) = message.message {
            content.extend_from_slice(&data);
        }
    }
    Ok(content)
}

#[tokio::test]
async fn a_sound_store_has_no_findings() -> Result {
    let server = TestServer::start().await?;
    for size in [0, 100, 100_000] {
        server.upload("a.txt", vec![b'x'; size]).await?;
    }
    for arguments in [&["fsck"][..], &["fsck", "--content"], &["fsck", "--content", "--repair"]] {
        let ran = succeed(&server.data, arguments).await?;
        let summary = &ran.last()["summary"];
        assert_eq!((&summary["files"], &summary["bytes"]), (&3.into(), &100_100.into()));
        assert_eq!((&summary["findings"], ran.lines.len()), (&0.into(), 1));
    }
    Ok(())
}

#[tokio::test]
async fn lost_content_is_found_taken_out_of_service_and_put_back() -> Result {
    let server = TestServer::start().await?;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(server.upload("a.txt", vec![b'0' + n; 100_000]).await?.id);
    }
    let small = server.upload("small.txt", "small").await?.id;
    let sound = server.upload("sound.txt", "sound").await?.id;
    let paths: Vec<PathBuf> = ids
        .iter()
        .map(|id| Ok(blob_path(&server, &blob_key(&server, id)?)))
        .collect::<Result<_>>()?;
    let originals: Vec<Vec<u8>> =
        paths.iter().map(fs::read).collect::<std::result::Result<_, _>>()?;
    let link = CreateSignedUrlRequest { file_id: ids[2].clone(), ..Default::default() };
    let link = server.link(link).await?;
    assert_eq!(server.get(&link, &[]).await?.status, 200);

    fs::remove_file(&paths[0])?;
    fs::write(&paths[1], [b'1'; 99_999])?;
    fs::write(&paths[2], [b'!'; 100_000])?;
    fs::write(&paths[3], [b'3'; 100_001])?;
    let change = "UPDATE blobs SET content = x'534d414c4c' WHERE content = ?1";
    let changed = database(&server.data, "blobs/small.db")?.execute(change, [&b"small"[..]])?;
    assert_eq!(changed, 1);

    // Measured alone, changed bytes are not noticed.
    let measured = run(&server.data, &["fsck"]).await?;
    let mut by_size = [&ids[0], &ids[1], &ids[3]].map(String::as_str);
    by_size.sort_unstable();
    assert_eq!((measured.code, measured.all("file_id")), (6, by_size.to_vec()));
    assert_eq!(content(&server, &ids[0]).await.expect_err("lost").code(), Code::DataLoss);

    let repaired = succeed(&server.data, &["fsck", "--content", "--repair"]).await?;
    let mut all: Vec<&str> = ids.iter().chain([&small]).map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(repaired.all("file_id"), all);
    assert!(repaired.lines[..5].iter().all(|line| line["finding"] == "content_damaged"));
    // The running server knows at once, although it had the file at hand.
    let refused = server.get(&link, &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (500, "CONTENT_DAMAGED"));
    let head = crate::support::request(server.http, "HEAD", &link, &[]).await?;
    assert_eq!(head.status, 500);
    let mut client = server.client().await?;
    for id in &all {
        assert_refused(content(&server, id).await, Code::DataLoss, "CONTENT_DAMAGED", None);
        let sign = CreateSignedUrlRequest { file_id: (*id).to_owned(), ..Default::default() };
        let refused = client.create_signed_url(sign).await;
        assert_refused(refused, Code::DataLoss, "CONTENT_DAMAGED", None);
        let get = GetFileRequest { file_id: (*id).to_owned(), ..Default::default() };
        client.get_file(get).await?;
    }
    assert_eq!(content(&server, &sound).await?, b"sound");
    // Nothing more is left to do.
    succeed(&server.data, &["fsck", "--content"]).await?;

    for (path, original) in paths.iter().zip(&originals) {
        fs::write(path, original)?;
    }
    let healed = run(&server.data, &["fsck", "--content"]).await?;
    assert_eq!(healed.code, 6);
    let healed = succeed(&server.data, &["fsck", "--content", "--repair"]).await?;
    let whole = healed.lines.iter().filter(|it| it["finding"] == "content_whole_again").count();
    assert_eq!(whole, 4);
    for (id, original) in ids.iter().zip(&originals) {
        assert!(content(&server, id).await? == *original);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_over_is_found_and_removed() -> Result {
    let server = TestServer::configured(&NO_SWEEPS).await?;
    let kept = server.upload("kept.txt", "kept").await?.id;
    let old = old_stray(&server.data, 7)?;
    let staged = server.data.join("blobs/staging").join(format!("{:032x}", 8));
    fs::write(&staged, "staged")?;
    File::options().write(true).open(&staged)?.set_modified(SystemTime::now() - TWO_DAYS)?;
    let young = server.data.join("blobs/00").join(format!("{:032x}", 9));
    fs::write(&young, "young")?;
    let records = database(&server.data, "metadata.db")?;
    records.execute("UPDATE usage SET stored_bytes = 77, file_count = 9", [])?;
    // An upload whose process died.
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let mut client = server.client().await?;
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let uploading = tokio::spawn(async move { client.upload_file(messages).await });
    let start_message = files::proto::upload_file_request::Message::Start(start("dead.txt"));
    sender.send(message(start_message)).await?;
    sender.send(data("x")).await?;
    while server.rows("files").await? < 2 {
        tokio::task::yield_now().await;
    }
    records.execute("UPDATE files SET lease_until_us = 5 WHERE state = 0", [])?;

    let found = run(&server.data, &["fsck"]).await?;
    assert_eq!(found.code, 6);
    let kinds = ["blob_without_record", "blob_without_record", "record_stale", "usage_wrong"];
    assert_eq!(found.all("finding"), kinds);
    assert!(old.exists() && staged.exists());
    let repaired = succeed(&server.data, &["fsck", "--repair"]).await?;
    assert_eq!(repaired.all("finding"), kinds);
    assert!(!old.exists() && !staged.exists() && young.exists());
    assert_eq!(succeed(&server.data, &["fsck", "--content"]).await?.lines.len(), 1);
    sender.send(finish()).await?;
    assert_refused(uploading.await?, Code::Aborted, "UPLOAD_TAKEN_OVER", None);
    assert_eq!(content(&server, &kept).await?, b"kept");
    Ok(())
}

#[tokio::test]
async fn a_sweep_says_what_it_would_do_and_brakes() -> Result {
    let server = TestServer::configured(&NO_SWEEPS).await?;
    server.upload("kept.txt", "kept").await?;
    let file = server.upload("gone.txt", "gone").await?;
    let records = database(&server.data, "metadata.db")?;
    let expire = "UPDATE files SET expire_time_us = 5 WHERE file_id = ?1";
    records.execute(expire, [&file.id])?;
    let strays: Vec<PathBuf> =
        (0..11).map(|n| old_stray(&server.data, n)).collect::<Result<_>>()?;
    let plan = succeed(&server.data, &["sweep", "--dry-run"]).await?;
    assert_eq!(plan.all("file_id"), [file.id.as_str()]);
    let summary = plan.last();
    assert_eq!((&summary["strays"], &summary["braked"]), (&11.into(), &true.into()));
    assert_eq!(server.rows("files").await?, 2);

    let braked = run(&server.data, &["sweep"]).await?;
    assert_eq!((braked.code, &braked.last()["strays_removed"]), (6, &0.into()));
    assert_eq!(braked.last()["records_removed"], 1);
    assert_eq!(server.rows("files").await?, 1);
    let refused = run(&server.data, &["fsck", "--repair"]).await?;
    assert_eq!(refused.code, 6);
    assert!(refused.all("finding").contains(&"too_many_blobs_without_record"));
    assert!(strays.iter().all(|stray| stray.exists()));
    let forced = succeed(&server.data, &["sweep", "--force"]).await?;
    assert_eq!(forced.last()["strays_removed"], 11);
    assert!(!strays.iter().any(|stray| stray.exists()));
    Ok(())
}

#[tokio::test]
async fn nothing_is_removed_from_another_databases_storage() -> Result {
    let server = TestServer::configured(&NO_SWEEPS).await?;
    server.upload("a.txt", vec![b'x'; 100_000]).await?;
    let stray = old_stray(&server.data, 3)?;
    let mark = server.data.join("blobs/owner");
    let own = fs::read_to_string(&mark)?;
    fs::write(&mark, uuid::Uuid::new_v4().to_string())?;
    for arguments in [&["sweep", "--force"][..], &["fsck", "--repair", "--force"]] {
        let refused = run(&server.data, arguments).await?;
        assert_ne!(refused.code, 0, "{arguments:?}");
        assert!(stray.exists());
    }
    let records = database(&server.data, "metadata.db")?;
    records.execute("UPDATE files SET expire_time_us = 5", [])?;
    assert_ne!(run(&server.data, &["sweep"]).await?.code, 0);
    assert_eq!((server.blob_files().len(), server.rows("files").await?), (2, 1));
    fs::write(&mark, own)?;
    succeed(&server.data, &["sweep"]).await?;
    assert_eq!((server.blob_files().len(), server.rows("files").await?), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_backup_taken_while_uploads_run_restores_whole() -> Result {
    let server = TestServer::start().await?;
    let mut before = Vec::new();
    for n in 0..30_usize {
        let size = if n % 3 == 0 { 100_000 + n } else { n };
        let said = UploadStart {
            labels: [("n".to_owned(), n.to_string())].into(),
            ..start(&format!("{n}.txt"))
        };
        let bytes = vec![b'a' + (n % 26) as u8; size];
        let file = upload(&mut server.client().await?, said, bytes.clone()).await?.file;
        before.push((file.expect("a file"), bytes));
    }
    let gone = server.upload("gone.txt", vec![b'x'; 100_000]).await?;
    let mut client = server.client().await?;
    let busy = tokio::spawn(async move {
        let purge = DeleteFileRequest { file_id: gone.id, purge: true, ..Default::default() };
        client.delete_file(purge).await?;
        for n in 0..200_usize {
            let file = upload(&mut client, start("busy.txt"), vec![b'b'; n * 700]).await?.file;
            if n % 2 == 0 {
                let file_id = file.expect("a file").id;
                let purge = DeleteFileRequest { file_id, purge: true, ..Default::default() };
                client.delete_file(purge).await?;
            }
        }
        anyhow::Ok(())
    });
    let directory = tempfile::tempdir()?;
    let (backup, restored) = (directory.path().join("backup"), directory.path().join("restored"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let copied = succeed(&server.data, &["backup", &text(&backup)]).await?;
    assert_eq!(copied.last()["damaged"], 0);
    busy.await??;
    let not_empty = run(&server.data, &["backup", &text(&backup)]).await?;
    assert_eq!(not_empty.code, 1);
    assert!(not_empty.errors.contains("is not empty"), "{}", not_empty.errors);

    succeed(&restored, &["restore", &text(&backup)]).await?;
    let checked = succeed(&restored, &["fsck", "--content", "--repair"]).await?;
    // At most what was on its way in or out at the moment of the copy.
    assert!(checked.all("finding").iter().all(|it| *it == "record_stale"), "{:?}", checked.lines);
    let again = TestServer::on(&restored, &[]).await?;
    for (file, bytes) in &before {
        let get = GetFileRequest { file_id: file.id.clone(), ..Default::default() };
        let found = again.client().await?.get_file(get).await?.into_inner().file;
        assert_eq!(found.as_ref(), Some(file));
        assert!(content(&again, &file.id).await? == *bytes);
    }
    Ok(())
}

#[tokio::test]
async fn half_a_backup_is_none_and_lost_content_is_told() -> Result {
    let server = TestServer::start().await?;
    let lost = server.upload("lost.txt", vec![b'x'; 100_000]).await?.id;
    let kept = server.upload("kept.txt", "kept").await?.id;
    fs::write(blob_path(&server, &blob_key(&server, &lost)?), [b'y'; 100_000])?;
    let directory = tempfile::tempdir()?;
    let (backup, restored) = (directory.path().join("backup"), directory.path().join("restored"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let told = run(&server.data, &["backup", &text(&backup)]).await?;
    assert_eq!((told.code, told.all("damaged")), (6, vec![lost.as_str()]));
    succeed(&restored, &["restore", &text(&backup)]).await?;
    let again = TestServer::on(&restored, &[]).await?;
    assert_eq!(content(&again, &kept).await?, b"kept");
    assert_refused(content(&again, &lost).await, Code::DataLoss, "CONTENT_DAMAGED", None);

    fs::remove_file(backup.join("backup.json"))?;
    let refused = run(&directory.path().join("other"), &["restore", &text(&backup)]).await?;
    assert_eq!(refused.code, 1);
    assert!(refused.errors.contains("is no backup"), "{}", refused.errors);
    let missing = run(&directory.path().join("nowhere"), &["fsck"]).await?;
    assert_eq!(missing.code, 1);
    assert!(missing.errors.contains("there is no data directory"), "{}", missing.errors);
    Ok(())
}

#[tokio::test]
async fn migrations_run_apart_and_all_at_once() -> Result {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    fs::create_dir(&data)?;
    let starts = (0..8).map(|_| {
        let data = data.clone();
        tokio::spawn(async move { run(&data, &["migrate"]).await })
    });
    for start in starts.collect::<Vec<_>>() {
        let ran = start.await??;
        assert_eq!(ran.code, 0, "{}", ran.errors);
    }
    let newer = database(&data, "metadata.db")?;
    newer.pragma_update(None, "user_version", 99)?;
    let refused = run(&data, &["migrate"]).await?;
    assert_eq!(refused.code, 1);
    assert!(refused.errors.contains("version 99"), "{}", refused.errors);
    Ok(())
}

#[tokio::test]
async fn a_storage_that_lost_nearly_everything_stays_in_service_until_somebody_says_so() -> Result {
    let server = TestServer::start().await?;
    for n in 0..15_u8 {
        server.upload("a.txt", vec![n; 40_000]).await?;
    }
    for blob in server.blob_files() {
        fs::remove_file(blob)?;
    }
    let quarantined = || {
        let select = "SELECT count(*) FROM files WHERE quarantined = 1";
        let count = database(&server.data, "metadata.db")?.query_row(select, [], |row| row.get(0));
        anyhow::Ok(count.map(|count: i64| count)?)
    };
    let mark = server.data.join("blobs/owner");
    let own = fs::read_to_string(&mark)?;
    for other in [None, Some(uuid::Uuid::new_v4().to_string())] {
        match other {
            Some(other) => fs::write(&mark, other)?,
            None => fs::remove_file(&mark)?,
        }
        let refused = run(&server.data, &["fsck", "--repair", "--force"]).await?;
        assert_eq!((refused.code, quarantined()?), (6, 0));
    }
    fs::write(&mark, own)?;
    let braked = run(&server.data, &["fsck", "--repair"]).await?;
    assert_eq!((braked.code, quarantined()?), (6, 10));
    assert!(braked.all("finding").contains(&"too_much_content_damaged"));
    succeed(&server.data, &["fsck", "--repair", "--force"]).await?;
    assert_eq!(quarantined()?, 15);
    Ok(())
}

#[tokio::test]
async fn a_server_does_not_start_on_a_storage_that_is_not_there() -> Result {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let server = TestServer::on(&data, &[]).await?;
    server.upload("a.txt", "content").await?;
    server.stopped().await;
    fs::remove_dir_all(data.join("blobs"))?;
    let refused = TestServer::on(&data, &[]).await.err().expect("a refusal").to_string();
    assert!(refused.contains("is its volume mounted"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn upkeep_neither_makes_nor_migrates_a_database() -> Result {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    fs::create_dir(&data)?;
    let backup = directory.path().join("backup");
    let backup = backup.to_str().expect("UTF-8");
    let commands = [&["fsck"][..], &["sweep"], &["sweep", "--dry-run"], &["backup", backup]];
    for arguments in commands {
        let refused = run(&data, arguments).await?;
        assert_eq!(refused.code, 1, "{arguments:?}");
        assert!(refused.errors.contains("cannot open the database"), "{}", refused.errors);
    }
    assert_eq!(data.read_dir()?.count(), 0);
    succeed(&data, &["migrate"]).await?;
    database(&data, "metadata.db")?.pragma_update(None, "user_version", 1)?;
    for arguments in commands {
        let refused = run(&data, arguments).await?;
        assert_eq!(refused.code, 1, "{arguments:?}");
        assert!(refused.errors.contains("run `files migrate` first"), "{}", refused.errors);
    }
    Ok(())
}

#[tokio::test]
async fn half_a_restore_is_no_data_directory() -> Result {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("unfinished.db"), "")?;
    let refused = TestServer::on(&data, &[]).await.err().expect("a refusal").to_string();
    assert!(refused.contains("never finished"), "{refused}");
    let refused = run(&data, &["fsck"]).await?;
    assert!(refused.errors.contains("never finished"), "{}", refused.errors);
    Ok(())
}

#[tokio::test]
async fn what_expired_is_no_lost_content_after_a_restore() -> Result {
    let server = TestServer::start().await?;
    let ttl = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let said = UploadStart { ttl, ..start("short.txt") };
    upload(&mut server.client().await?, said, "x").await?;
    let kept = server.upload("kept.txt", "kept").await?;
    database(&server.data, "metadata.db")?
        .execute("UPDATE files SET expire_time_us = 5 WHERE expire_time_us IS NOT NULL", [])?;
    let directory = tempfile::tempdir()?;
    let (backup, restored) = (directory.path().join("backup"), directory.path().join("restored"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let copied = succeed(&server.data, &["backup", &text(&backup)]).await?;
    assert_eq!(copied.last()["files"], 1);
    succeed(&restored, &["restore", &text(&backup)]).await?;
    let again = TestServer::on(&restored, &[]).await?;
    let checked = succeed(&restored, &["fsck", "--content"]).await?;
    assert_eq!(checked.lines.len(), 1, "{:?}", checked.lines);
    assert_eq!(content(&again, &kept.id).await?, b"kept");
    Ok(())
}
