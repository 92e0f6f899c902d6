//! Requests about a file's life that cannot be accepted: each has its reason and changes nothing.

use std::time::Duration;

use files::proto::{
    AttachFilesRequest, DeleteReferenceRequest, DetachFilesRequest, File, FileFilter,
    GetUsageRequest, ListFilesRequest, Reference, UndeleteFileRequest, UpdateFileRequest,
    UploadStart,
};
use tonic::Code;

use crate::{
    lifecycle::{attach, delete, get, target, thread, update},
    support::{Result, TestServer, assert_refused, start, upload},
};

fn seconds(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn labels(count: usize, key: usize, value: usize) -> std::collections::BTreeMap<String, String> {
    (0..count).map(|n| (format!("{n:0key$}"), "v".repeat(value))).collect()
}

#[tokio::test]
async fn masks_and_values_that_cannot_be_are_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let now = server.now().unix_s();
    let with = |change: &dyn Fn(&mut File)| {
        let mut changed = file.clone();
        change(&mut changed);
        changed
    };
    for (request, field) in [
        (update(file.clone(), &["nonsense"]), "update_mask"),
        (update(file.clone(), &["filename", "user_id"]), "update_mask"),
        (update(file.clone(), &["size_bytes"]), "update_mask"),
        (update(file.clone(), &["references"]), "update_mask"),
        (update(file.clone(), &["labels.k"]), "update_mask"),
        (update(file.clone(), &["*", "filename"]), "update_mask"),
        (update(File { id: file.id.clone(), ..File::default() }, &[]), "update_mask"),
        (update(with(&|it| it.id = "file_1".into()), &["filename"]), "file.id"),
        (update(with(&|it| it.filename = "a/b.txt".into()), &["filename"]), "file.filename"),
        (update(with(&|it| it.filename = String::new()), &["filename"]), "file.filename"),
        (update(with(&|it| it.labels = labels(33, 3, 1)), &["labels"]), "file.labels"),
        (update(with(&|it| it.labels = labels(1, 64, 1)), &["labels"]), "file.labels"),
        (update(with(&|it| it.labels = labels(1, 3, 257)), &["labels"]), "file.labels"),
        (update(with(&|it| it.expire_time = seconds(now)), &["expire_time"]), "file.expire_time"),
        (update(with(&|it| it.expire_time = seconds(-5)), &["expire_time"]), "file.expire_time"),
        (
            update(with(&|it| it.expire_time = seconds(i64::MAX)), &["expire_time"]),
            "file.expire_time",
        ),
        (
            update(with(&|it| it.expire_time = seconds(now + 40_000_000_000)), &["expire_time"]),
            "file.expire_time",
        ),
        (UpdateFileRequest { file: None, ..update(file.clone(), &["labels"]) }, "file"),
    ] {
        let refused = client.update_file(request).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    // What the content was checked against when it came in stays true.
    let retyped = update(with(&|it| it.filename = "a.png".into()), &["filename"]);
    let refused = client.update_file(retyped).await;
    let field = Some("file.filename");
    assert_refused(refused, Code::InvalidArgument, "FILE_TYPE_UNSUPPORTED", field);
    let foreign =
        UpdateFileRequest { user_id: "user-2".into(), ..update(file.clone(), &["labels"]) };
    let refused = client.update_file(foreign).await;
    assert_refused(refused, Code::NotFound, "FILE_NOT_FOUND", None);
    assert_eq!(get(&mut client, &file, false).await?, file);
    Ok(())
}

#[tokio::test]
async fn references_that_cannot_be_are_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let other = UploadStart { user_id: "user-2".into(), ..start("b.txt") };
    let other = upload(&mut client, other, "x").await?.file.expect("a file");
    let bad = [
        None,
        Some(Reference { kind: 0, id: "t".into() }),
        Some(Reference { kind: 7, id: "t".into() }),
        Some(Reference { kind: 2, id: String::new() }),
        Some(Reference { kind: 2, id: "t".repeat(300) }),
        Some(Reference { kind: 2, id: "a\0b".into() }),
    ];
    for reference in bad.clone() {
        let attach =
            AttachFilesRequest { reference: reference.clone(), ..attach(thread("t"), &[&file]) };
        let detach = DetachFilesRequest {
            reference: reference.clone(),
            file_ids: attach.file_ids.clone(),
            user_id: "user-1".into(),
        };
        let field = Some("reference");
        let refused = client.attach_files(attach).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", field);
        let refused = client.detach_files(detach).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", field);
        let gone = DeleteReferenceRequest { reference, user_id: "user-1".into() };
        let refused = client.delete_reference(gone).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", field);
    }
    for reference in bad.into_iter().flatten() {
        let start = UploadStart { references: vec![reference], ..start("c.txt") };
        let refused = upload(&mut client, start, "x").await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some("references"));
    }
    for file_ids in [vec![], vec![file.id.clone(); 101], vec![file.id.clone(), "x".into()]] {
        let field = Some("file_ids");
        let request = AttachFilesRequest { file_ids, ..attach(thread("t"), &[]) };
        let refused = client.attach_files(request).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", field);
    }
    let refused = client.attach_files(attach(thread("t"), &[&file, &other])).await;
    assert_refused(refused, Code::NotFound, "FILE_NOT_FOUND", None);
    assert_eq!(get(&mut client, &file, false).await?, file);
    assert_eq!(server.rows("file_references").await?, 0);
    assert_eq!(server.rows("files").await?, 2);
    Ok(())
}

#[tokio::test]
async fn filters_that_cannot_be_are_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let none = FileFilter::default;
    for (filter, field) in [
        (FileFilter { purposes: vec![String::new()], ..none() }, "filter.purposes"),
        (FileFilter { purposes: vec!["p".into(); 51], ..none() }, "filter.purposes"),
        (FileFilter { mime_types: vec!["*/*".into()], ..none() }, "filter.mime_types"),
        (FileFilter { mime_types: vec!["image".into()], ..none() }, "filter.mime_types"),
        (FileFilter { filename_contains: "x".repeat(256), ..none() }, "filter.filename_contains"),
        (FileFilter { reference: Some(Reference::default()), ..none() }, "filter.reference"),
        (FileFilter { sha256: vec![1; 31].into(), ..none() }, "filter.sha256"),
        (FileFilter { labels: labels(33, 3, 1), ..none() }, "filter.labels"),
        (
            FileFilter { create_time_from: seconds(5), create_time_to: seconds(5), ..none() },
            "filter.create_time_to",
        ),
        (FileFilter { create_time_from: seconds(i64::MAX), ..none() }, "filter.create_time_from"),
    ] {
        let user_id = "user-1".to_owned();
        let request = ListFilesRequest { user_id, filter: Some(filter), ..Default::default() };
        let refused = client.list_files(request).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some(field));
    }
    Ok(())
}

#[tokio::test]
async fn a_page_token_of_another_listing_is_refused() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    for name in ["a.txt", "b.txt"] {
        server.upload(name, "x").await?;
    }
    let filter = |part: &str| FileFilter { filename_contains: part.into(), ..Default::default() };
    let request = ListFilesRequest {
        user_id: "user-1".into(),
        page_size: 1,
        filter: Some(filter("txt")),
        ..Default::default()
    };
    let page_token = client.list_files(request.clone()).await?.into_inner().next_page_token;
    let next = ListFilesRequest { page_token, ..request };
    for other in [
        ListFilesRequest { filter: None, ..next.clone() },
        ListFilesRequest { filter: Some(filter("tx")), ..next.clone() },
        ListFilesRequest { show_deleted: true, ..next.clone() },
        ListFilesRequest { user_id: "user-2".into(), ..next.clone() },
    ] {
        let refused = client.list_files(other).await;
        assert_refused(refused, Code::InvalidArgument, "FIELD_INVALID", Some("page_token"));
    }
    assert_eq!(client.list_files(next).await?.into_inner().files.len(), 1);
    Ok(())
}

#[tokio::test]
async fn undeleting_what_is_not_deleted_or_gone_is_refused() -> Result {
    let server = TestServer::configured(&[("FILES__DELETION__GRACE", "10s")]).await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let (file_id, user_id) = target(&file);
    let undelete = UndeleteFileRequest { file_id, user_id };
    let live = client.undelete_file(undelete.clone()).await;
    assert_refused(live, Code::AlreadyExists, "FILE_NOT_DELETED", None);
    assert_eq!(get(&mut client, &file, false).await?, file);
    client.delete_file(delete(&file)).await?;
    let foreign = UndeleteFileRequest { user_id: "user-2".into(), ..undelete.clone() };
    let refused = client.undelete_file(foreign).await;
    assert_refused(refused, Code::NotFound, "FILE_NOT_FOUND", None);
    server.clock.advance(Duration::from_secs(10));
    let late = client.undelete_file(undelete).await;
    assert_refused(late, Code::NotFound, "FILE_NOT_FOUND", None);
    let nobody = client.get_usage(GetUsageRequest::default()).await;
    assert_refused(nobody, Code::InvalidArgument, "FIELD_INVALID", Some("user_id"));
    Ok(())
}
