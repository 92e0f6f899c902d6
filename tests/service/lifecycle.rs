//! A file's life over the wire: references, updates, deletion, expiry, quotas and listings.

use std::time::Duration;

use files::proto::{
    AttachFilesRequest, CreateSignedUrlRequest, DeleteFileRequest, DeleteReferenceRequest,
    DetachFilesRequest, DownloadFileRequest, File, FileFilter, GetCapabilitiesRequest,
    GetFileRequest, GetUsageRequest, ListFilesRequest, Reference, UndeleteFileRequest,
    UpdateFileRequest, UploadStart,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::support::{Client, Result, TestServer, assert_refused, start, upload};

pub fn thread(id: &str) -> Reference {
    Reference { kind: 2, id: id.to_owned() }
}

pub fn target(file: &File) -> (String, String) {
    (file.id.clone(), "user-1".to_owned())
}

pub fn delete(file: &File) -> DeleteFileRequest {
    let (file_id, user_id) = target(file);
    DeleteFileRequest { file_id, user_id, ..Default::default() }
}

pub fn attach(reference: Reference, files: &[&File]) -> AttachFilesRequest {
    AttachFilesRequest {
        reference: Some(reference),
        file_ids: files.iter().map(|file| file.id.clone()).collect(),
        user_id: "user-1".into(),
    }
}

pub fn update(file: File, paths: &[&str]) -> UpdateFileRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = Some(FieldMask { paths });
    UpdateFileRequest { file: Some(file), update_mask, user_id: "user-1".into() }
}

pub async fn get(client: &mut Client, file: &File, show_deleted: bool) -> Result<File> {
    let (file_id, user_id) = target(file);
    let request = GetFileRequest { file_id, user_id, show_deleted };
    Ok(client.get_file(request).await?.into_inner().file.expect("a file"))
}

async fn list(client: &mut Client, filter: FileFilter, show_deleted: bool) -> Result<Vec<String>> {
    let mut request = ListFilesRequest {
        user_id: "user-1".into(),
        page_size: 2,
        filter: Some(filter),
        show_deleted,
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let page = client.list_files(request.clone()).await?.into_inner();
        names.extend(page.files.into_iter().map(|file| file.filename));
        if page.next_page_token.is_empty() {
            return Ok(names);
        }
        request.page_token = page.next_page_token;
    }
}

async fn usage(client: &mut Client) -> Result<(i64, i64)> {
    let request = GetUsageRequest { user_id: "user-1".into() };
    let usage = client.get_usage(request).await?.into_inner();
    Ok((usage.file_count, usage.stored_bytes))
}

#[tokio::test]
async fn references_bind_a_file_and_let_it_go() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let said = UploadStart {
        references: vec![thread("t1"), thread("t1")],
        delete_when_unreferenced: true,
        ..start("bound.txt")
    };
    let bound = upload(&mut client, said, "x").await?.file.expect("a file");
    assert_eq!(bound.references, [thread("t1")]);
    let free = server.upload("free.txt", "x").await?;
    client.attach_files(attach(thread("t1"), &[&free])).await?;
    client.attach_files(attach(thread("t2"), &[&free])).await?;
    assert_eq!(get(&mut client, &free, false).await?.references, [thread("t1"), thread("t2")]);

    let refused = client.delete_file(delete(&free)).await;
    assert_refused(refused, Code::FailedPrecondition, "FILE_REFERENCED", None);
    let detach = DetachFilesRequest {
        reference: Some(thread("t2")),
        file_ids: vec![free.id.clone(), bound.id.clone()],
        user_id: "user-1".into(),
    };
    let detached = client.detach_files(detach).await?.into_inner();
    assert_eq!(detached.deleted_count, 0);
    let by_thread = FileFilter { reference: Some(thread("t1")), ..Default::default() };
    assert_eq!(list(&mut client, by_thread.clone(), false).await?.len(), 2);

    let gone = DeleteReferenceRequest { reference: Some(thread("t1")), user_id: "user-1".into() };
    let answer = client.delete_reference(gone.clone()).await?.into_inner();
    assert_eq!((answer.detached_count, answer.deleted_count), (2, 1));
    assert!(list(&mut client, by_thread, true).await?.is_empty());
    let went = get(&mut client, &bound, true).await?;
    assert!(went.delete_time.is_some() && went.purge_time.is_some());
    let again = client.delete_reference(gone).await?.into_inner();
    assert_eq!((again.detached_count, again.deleted_count), (0, 0));
    let forced = DeleteFileRequest { force: true, ..delete(&free) };
    client.attach_files(attach(thread("t3"), &[&free])).await?;
    client.delete_file(forced).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_whose_references_went_while_it_was_uploaded_goes_with_them() -> Result {
    use crate::support::{data, finish, message};
    use files::proto::upload_file_request::Message;
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let said = UploadStart {
        references: vec![thread("t1")],
        delete_when_unreferenced: true,
        ..start("a.txt")
    };
    let (sender, messages) = tokio::sync::mpsc::channel(4);
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut uploading = client.clone();
    let uploaded = tokio::spawn(async move { uploading.upload_file(messages).await });
    sender.send(message(Message::Start(said))).await?;
    sender.send(data("x")).await?;
    while server.rows("file_references").await? == 0 {
        tokio::task::yield_now().await;
    }
    let gone = DeleteReferenceRequest { reference: Some(thread("t1")), ..Default::default() };
    client.delete_reference(gone).await?;
    sender.send(finish()).await?;
    drop(sender);
    let file = uploaded.await??.into_inner().file.expect("a file");
    assert!(file.delete_time.is_some(), "{file:?}");
    assert!(list(&mut client, FileFilter::default(), false).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_update_changes_what_the_mask_names() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let wanted = File {
        filename: "b.txt".into(),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        delete_when_unreferenced: true,
        ..file.clone()
    };
    let renamed = client.update_file(update(wanted.clone(), &["filename"])).await?;
    let renamed = renamed.into_inner().file.expect("a file");
    assert_eq!((renamed.filename.as_str(), renamed.labels.len()), ("b.txt", 0));
    assert_ne!(renamed.etag, file.etag);
    let stale = client.update_file(update(wanted.clone(), &["labels"])).await;
    assert_refused(stale, Code::Aborted, "ETAG_MISMATCH", None);
    // Everything for `*`, and without a mask everything that is set.
    for mask in [Some(FieldMask { paths: vec!["*".into()] }), None] {
        let file = File { etag: String::new(), ..wanted.clone() };
        let request = UpdateFileRequest { update_mask: mask, ..update(file, &[]) };
        let changed = client.update_file(request).await?.into_inner().file.expect("a file");
        assert_eq!((&changed.labels, changed.delete_when_unreferenced), (&wanted.labels, true));
    }
    let link = CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
    let link = server.link(link).await?;
    assert!(server.get(&link, &[]).await?.header("content-disposition").contains("b.txt"));
    let cleared = File { id: file.id.clone(), ..Default::default() };
    let request = update(cleared, &["labels", "delete_when_unreferenced"]);
    let cleared = client.update_file(request).await?.into_inner().file.expect("a file");
    assert!(cleared.labels.is_empty() && !cleared.delete_when_unreferenced);
    Ok(())
}

#[tokio::test]
async fn an_expiry_by_update_holds_on_every_path_at_its_second() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let (file_id, user_id) = target(&file);
    let link = CreateSignedUrlRequest { file_id: file_id.clone(), ..Default::default() };
    let link = server.link(link).await?;
    let expires = server.now().plus(Duration::from_secs(100));
    let expire_time =
        Some(prost_types::Timestamp { seconds: expires.unix_s(), ..Default::default() });
    let request = update(File { expire_time, ..file.clone() }, &["expire_time"]);
    let updated = client.update_file(request).await?.into_inner().file.expect("a file");
    assert_eq!(updated.expire_time, expire_time);
    server.clock.advance(Duration::from_secs(99));
    assert_eq!(server.get(&link, &[]).await?.status, 200);
    assert_eq!(usage(&mut client).await?, (1, 1));
    server.clock.advance(Duration::from_secs(1));

    let show_deleted = true;
    let get = GetFileRequest { file_id: file_id.clone(), user_id: user_id.clone(), show_deleted };
    assert_refused(client.get_file(get).await, Code::NotFound, "FILE_NOT_FOUND", None);
    assert!(list(&mut client, FileFilter::default(), true).await?.is_empty());
    let download = DownloadFileRequest { file_id: file_id.clone(), ..Default::default() };
    assert_refused(client.download_file(download).await, Code::NotFound, "FILE_NOT_FOUND", None);
    let sign = CreateSignedUrlRequest { file_id: file_id.clone(), ..Default::default() };
    assert_refused(client.create_signed_url(sign).await, Code::NotFound, "FILE_NOT_FOUND", None);
    let attach = attach(thread("t"), &[&file]);
    assert_refused(client.attach_files(attach).await, Code::NotFound, "FILE_NOT_FOUND", None);
    let again = update(File { labels: Default::default(), ..file.clone() }, &["labels"]);
    assert_refused(client.update_file(again).await, Code::NotFound, "FILE_NOT_FOUND", None);
    let undelete = UndeleteFileRequest { file_id, user_id };
    let undelete = client.undelete_file(undelete).await;
    assert_refused(undelete, Code::NotFound, "FILE_NOT_FOUND", None);
    let delete = client.delete_file(delete(&file)).await;
    assert_refused(delete, Code::NotFound, "FILE_NOT_FOUND", None);
    assert_eq!(server.get(&link, &[]).await?.reason(), "FILE_NOT_FOUND");
    assert_eq!(usage(&mut client).await?, (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_deleted_file_comes_back_with_its_bytes_and_links() -> Result {
    let server = TestServer::configured(&[("FILES__DELETION__GRACE", "1h")]).await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "content").await?;
    let link = CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
    let link = server.link(link).await?;
    assert_eq!(server.get(&link, &[]).await?.status, 200);
    let deleted = client.delete_file(delete(&file)).await?.into_inner().file.expect("a file");
    let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
    assert_eq!(seconds(deleted.purge_time) - seconds(deleted.delete_time), 3600);
    assert_eq!(server.get(&link, &[]).await?.status, 404);
    assert!(list(&mut client, FileFilter::default(), false).await?.is_empty());
    assert_eq!(list(&mut client, FileFilter::default(), true).await?, ["a.txt"]);
    assert_eq!(get(&mut client, &file, true).await?, deleted);
    assert_eq!(usage(&mut client).await?, (1, 7));
    let (file_id, user_id) = target(&file);
    let undelete = UndeleteFileRequest { file_id, user_id };
    let back = client.undelete_file(undelete.clone()).await?.into_inner().file.expect("a file");
    assert_eq!((back.delete_time, back.purge_time), (None, None));
    assert_eq!(server.get(&link, &[]).await?.body, b"content");
    let live = client.undelete_file(undelete.clone()).await;
    assert_refused(live, Code::AlreadyExists, "FILE_NOT_DELETED", None);
    client.delete_file(delete(&file)).await?;
    server.clock.advance(Duration::from_secs(3600));
    let late = client.undelete_file(undelete).await;
    assert_refused(late, Code::NotFound, "FILE_NOT_FOUND", None);
    assert!(list(&mut client, FileFilter::default(), true).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_purpose_brings_its_own_life_and_grace() -> Result {
    let server = TestServer::configured(&[
        ("FILES__PURPOSES__BATCH__DEFAULT_TTL", "10s"),
        ("FILES__PURPOSES__BATCH__GRACE", "0s"),
        ("FILES__PURPOSES__NOTES__MIME_TYPES", "text/plain"),
    ])
    .await?;
    let mut client = server.client().await?;
    let purpose = |purpose: &str| UploadStart { purpose: purpose.into(), ..start("a.txt") };
    let batch = upload(&mut client, purpose("batch"), "x").await?.file.expect("a file");
    let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
    assert_eq!(seconds(batch.expire_time) - seconds(batch.create_time), 10);
    let own = UploadStart {
        ttl: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        ..purpose("batch")
    };
    let own = upload(&mut client, own, "x").await?.file.expect("a file");
    assert_eq!(seconds(own.expire_time) - seconds(own.create_time), 5);
    let notes = upload(&mut client, purpose("notes"), "x").await?.file.expect("a file");
    assert_eq!(notes.expire_time, None);
    for file in [batch, own] {
        let deleted = client.delete_file(delete(&file)).await?.into_inner().file.expect("a file");
        assert_eq!(deleted.purge_time, deleted.delete_time);
    }
    client.delete_file(DeleteFileRequest { purge: true, ..delete(&notes) }).await?;
    server.assert_empty().await?;
    let answer = client.get_capabilities(GetCapabilitiesRequest {}).await?.into_inner();
    let ttls: Vec<_> = answer
        .purposes
        .iter()
        .map(|it| (it.purpose.as_str(), it.default_ttl.map(|ttl| ttl.seconds)))
        .collect();
    assert_eq!(ttls, [("batch", Some(10)), ("notes", None)]);
    Ok(())
}

#[tokio::test]
async fn filters_work_over_the_wire() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let mut kept = Vec::new();
    for (n, name) in ["Plan Ä.txt", "plot.png", "data.json", "plan b.txt"].iter().enumerate() {
        let png = [&b"\x89PNG\r\n\x1a\n"[..], &[0; 24]].concat();
        let content = if name.ends_with("png") { png } else { format!("{n}").into() };
        let said = UploadStart {
            purpose: if n < 2 { "vision" } else { "batch" }.into(),
            labels: [("n".to_owned(), (n % 2).to_string())].into(),
            ..start(name)
        };
        kept.push(upload(&mut client, said, content).await?.file.expect("a file"));
        server.clock.advance(Duration::from_secs(1));
    }
    let none = FileFilter::default;
    let second = kept[1].create_time;
    for (filter, expected) in [
        (none(), vec!["plan b.txt", "data.json", "plot.png", "Plan Ä.txt"]),
        (FileFilter { purposes: vec!["vision".into()], ..none() }, vec!["plot.png", "Plan Ä.txt"]),
        (FileFilter { mime_types: vec!["image/*".into()], ..none() }, vec!["plot.png"]),
        (
            FileFilter { mime_types: vec!["text/plain".into(), "text/*".into()], ..none() },
            vec!["plan b.txt", "Plan Ä.txt"],
        ),
        (FileFilter { filename_contains: "PLAN ä".into(), ..none() }, vec!["Plan Ä.txt"]),
        (FileFilter { sha256: kept[2].sha256.clone(), ..none() }, vec!["data.json"]),
        (
            FileFilter { labels: [("n".to_owned(), "1".to_owned())].into(), ..none() },
            vec!["plan b.txt", "plot.png"],
        ),
        (
            FileFilter { create_time_from: second, ..none() },
            vec!["plan b.txt", "data.json", "plot.png"],
        ),
        (FileFilter { create_time_to: second, ..none() }, vec!["Plan Ä.txt"]),
        (
            FileFilter {
                purposes: vec!["batch".into()],
                filename_contains: "plan".into(),
                ..none()
            },
            vec!["plan b.txt"],
        ),
    ] {
        let found = list(&mut client, filter.clone(), false).await?;
        assert_eq!(found, expected, "{filter:?}");
    }
    Ok(())
}

#[tokio::test]
async fn quotas_hold_and_are_told() -> Result {
    let server = TestServer::configured(&[
        ("FILES__QUOTAS__STORED_BYTES_MAX", "100 B"),
        ("FILES__QUOTAS__FILE_COUNT_MAX", "3"),
    ])
    .await?;
    let mut client = server.client().await?;
    let told = client.get_usage(GetUsageRequest { user_id: "user-1".into() }).await?.into_inner();
    assert_eq!((told.file_count_max, told.stored_bytes_max), (3, 100));
    let first = server.upload("a.txt", vec![b'x'; 60]).await?;
    // Promised beforehand, and met halfway.
    let promised = UploadStart { size_bytes: Some(41), ..start("b.txt") };
    for said in [promised, start("b.txt")] {
        let refused = upload(&mut client, said, vec![b'x'; 41]).await;
        assert_refused(refused, Code::ResourceExhausted, "QUOTA_EXCEEDED", None);
    }
    assert_eq!(usage(&mut client).await?, (1, 60));
    server.upload("b.txt", vec![b'x'; 40]).await?;
    server.upload("c.txt", "").await?;
    let fourth = upload(&mut client, start("d.txt"), "").await;
    assert_refused(fourth, Code::ResourceExhausted, "QUOTA_EXCEEDED", None);
    let other = UploadStart { user_id: "user-2".into(), ..start("a.txt") };
    upload(&mut client, other, vec![b'x'; 100]).await?;
    client.delete_file(DeleteFileRequest { purge: true, ..delete(&first) }).await?;
    assert_eq!(usage(&mut client).await?, (2, 40));
    server.upload("e.txt", vec![b'x'; 60]).await?;
    assert_eq!(server.rows("files").await?, 4);
    Ok(())
}

#[tokio::test]
async fn a_page_stays_below_what_clients_take() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let labels: std::collections::BTreeMap<String, String> =
        (0..32).map(|n| (format!("{n:063}"), "v".repeat(256))).collect();
    for n in 0..420 {
        let said = UploadStart { labels: labels.clone(), ..start(&format!("{n}.txt")) };
        upload(&mut client, said, "x").await?;
    }
    let request =
        ListFilesRequest { user_id: "user-1".into(), page_size: 1000, ..Default::default() };
    let first = client.list_files(request.clone()).await?.into_inner();
    assert!(!first.next_page_token.is_empty() && first.files.len() > 100);
    let mut met = first.files.len();
    let mut token = first.next_page_token;
    while !token.is_empty() {
        let request = ListFilesRequest { page_token: token, ..request.clone() };
        let page = client.list_files(request).await?.into_inner();
        met += page.files.len();
        token = page.next_page_token;
    }
    assert_eq!(met, 420);
    Ok(())
}
