//! Files once they are there: types, names, getting, listing, deleting, reading.

use std::{collections::BTreeMap, path::Path};

use files::{
    file::media_type::FILE_TYPES,
    proto::{
        DeleteFileRequest, DownloadFileRequest, GetCapabilitiesRequest, GetFileRequest,
        ListFilesRequest, UploadStart, download_file_response::Message,
    },
};
use tonic::Code;

use crate::support::{Client, Result, TestServer, assert_refused, start, upload};

fn get(file_id: &str, user_id: &str) -> GetFileRequest {
    GetFileRequest {
        file_id: file_id.to_owned(),
        user_id: user_id.to_owned(),
        ..Default::default()
    }
}

fn delete(file_id: &str) -> DeleteFileRequest {
    DeleteFileRequest {
        file_id: file_id.to_owned(),
        user_id: "user-1".to_owned(),
        ..Default::default()
    }
}

/// The table that users were promised: 40 extensions, each with its MIME type.
const PROMISED: &str = "
.c text/x-c
.cpp text/x-c++
.cs text/x-csharp
.css text/css
.doc application/msword
.docx application/vnd.openxmlformats-officedocument.wordprocessingml.document
.go text/x-golang
.html text/html
.java text/x-java
.js text/javascript
.json application/json
.md text/markdown
.pdf application/pdf
.php text/x-php
.pptx application/vnd.openxmlformats-officedocument.presentationml.presentation
.py text/x-python
.pyx text/x-script.python
.rb text/x-ruby
.sh application/x-sh
.tex text/x-tex
.ts application/typescript
.txt text/plain
.csv text/csv
.tsv text/tab-separated-values
.xls application/vnd.ms-excel
.xlsx application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
.png image/png
.jpg image/jpeg
.jpeg image/jpeg
.gif image/gif
.svg image/svg+xml
.zip application/zip
.tar application/x-tar
.gz application/gzip
.rar application/vnd.rar
.7z application/x-7z-compressed
.mp3 audio/mpeg
.mp4 video/mp4
.wav audio/wav
.ogg audio/ogg
";

fn promised() -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(' ').map(|(ext, mime)| (ext.into(), mime.into()));
    PROMISED.lines().filter_map(pair).collect()
}

#[tokio::test]
async fn capabilities_code_and_readme_share_one_table_of_types() -> Result {
    let coded: BTreeMap<String, String> = FILE_TYPES
        .iter()
        .map(|(extension, mime)| (format!(".{extension}"), (*mime).to_owned()))
        .collect();
    assert_eq!((coded.len(), &coded), (40, &promised()));
    let server = TestServer::start().await?;
    let answer = server.client().await?.get_capabilities(GetCapabilitiesRequest {}).await?;
    let answer = answer.into_inner();
    let served = answer.file_types.iter().map(|it| (it.extension.clone(), it.mime_type.clone()));
    assert_eq!(served.collect::<BTreeMap<_, _>>(), promised());
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    for it in &answer.file_types {
        let row = format!("| {} | {} | ", it.extension, it.mime_type);
        let row = readme.lines().find_map(|line| line.strip_prefix(&row));
        let row = row.unwrap_or_else(|| panic!("{} is missing in README.md", it.extension));
        assert_eq!(it.inline_safe, row.starts_with("inline"), "{}", it.extension);
    }
    let purposes: Vec<&str> = answer.purposes.iter().map(|it| it.purpose.as_str()).collect();
    assert!(purposes.contains(&"fine-tune-results") && purposes.len() == 10);
    assert_eq!(answer.chunk_bytes_max, 2 * 1024 * 1024);
    assert_eq!(answer.signed_url_ttl_max.map(|it| it.seconds), Some(7 * 24 * 3600));
    Ok(())
}

#[tokio::test]
async fn every_accepted_type_can_be_uploaded() -> Result {
    let server = TestServer::start().await?;
    for (extension, mime) in promised() {
        let name = format!("file{}", extension.to_uppercase());
        let claimed = UploadStart { mime_type: "application/x-lie".into(), ..start(&name) };
        let answer = upload(&mut server.client().await?, claimed, "").await?;
        assert_eq!(answer.file.expect("a file").mime_type, mime);
    }
    let archive = server.upload("archive.tar.gz", "").await?;
    assert_eq!(archive.mime_type, "application/gzip");
    Ok(())
}

#[tokio::test]
async fn more_types_and_purposes_come_by_configuration() -> Result {
    let server =
        TestServer::configured(&[("FILES__TYPES__IPYNB", "application/x-ipynb+json")]).await?;
    let file = server.upload("Notebook.ipynb", "{}").await?;
    assert_eq!(file.mime_type, "application/x-ipynb+json");
    Ok(())
}

#[tokio::test]
async fn names_are_kept_in_nfc() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("cafe\u{301}.txt", "x").await?;
    assert_eq!(file.filename, "caf\u{e9}.txt");
    Ok(())
}

#[tokio::test]
async fn only_the_owner_sees_a_file() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    for user in ["user-1", ""] {
        let answer = client.get_file(get(&file.id, user)).await?.into_inner();
        assert_eq!(answer.file.as_ref(), Some(&file));
    }
    let outcome = client.get_file(get(&file.id, "user-2")).await;
    assert_refused(outcome, Code::NotFound, "FILE_NOT_FOUND", None);
    let foreign = DeleteFileRequest { user_id: "user-2".into(), ..delete(&file.id) };
    assert_refused(client.delete_file(foreign).await, Code::NotFound, "FILE_NOT_FOUND", None);
    let unknown = client.get_file(get("file_0000000000000000000000", "")).await;
    assert_refused(unknown, Code::NotFound, "FILE_NOT_FOUND", None);
    Ok(())
}

async fn list(client: &mut Client, page_size: i32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut request =
        ListFilesRequest { user_id: "user-1".into(), page_size, ..Default::default() };
    loop {
        let page = client.list_files(request.clone()).await?.into_inner();
        let size = usize::try_from(page_size)?;
        assert!(page.files.len() <= if size == 0 { 50 } else { size });
        names.extend(page.files.into_iter().map(|file| file.filename));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(names);
        }
    }
}

#[tokio::test]
async fn listing_is_newest_first_in_pages() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let mut expected = Vec::new();
    for n in 0..60 {
        server.clock.advance(std::time::Duration::from_millis(1));
        expected.insert(0, server.upload(&format!("{n}.txt"), "x").await?.filename);
    }
    let foreign = UploadStart { user_id: "user-2".into(), ..start("foreign.txt") };
    upload(&mut client, foreign, "x").await?;
    for page_size in [0, 1, 7, 60, 1000, i32::MAX] {
        assert_eq!(list(&mut client, page_size).await?, expected, "{page_size}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_files_come_and_go() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let mut files = Vec::new();
    for n in 0..6 {
        server.clock.advance(std::time::Duration::from_millis(1));
        files.push(server.upload(&format!("{n}.txt"), "x").await?);
    }
    let mut request =
        ListFilesRequest { user_id: "user-1".into(), page_size: 2, ..Default::default() };
    let first = client.list_files(request.clone()).await?.into_inner();
    server.clock.advance(std::time::Duration::from_millis(1));
    server.upload("new.txt", "x").await?;
    client.delete_file(delete(&files[4].id)).await?;
    client.delete_file(delete(&files[3].id)).await?;
    request.page_token = first.next_page_token;
    let second = client.list_files(request).await?.into_inner();
    let names = |files: &[files::proto::File]| -> Vec<String> {
        files.iter().map(|file| file.filename.clone()).collect()
    };
    assert_eq!(names(&first.files), ["5.txt", "4.txt"]);
    assert_eq!(names(&second.files), ["2.txt", "1.txt"]);
    Ok(())
}

#[tokio::test]
async fn a_purged_file_is_gone_with_its_bytes_and_links() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    for size in [10, 1_000_000] {
        let file = server.upload("a.txt", vec![b'x'; size]).await?;
        let request =
            files::proto::CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
        let link = server.link(request).await?;
        assert_eq!(server.get(&link, &[]).await?.body.len(), size);
        let purge = DeleteFileRequest { purge: true, ..delete(&file.id) };
        let deleted = client.delete_file(purge.clone()).await?.into_inner().file.expect("a file");
        assert_eq!((&deleted.id, deleted.delete_time), (&file.id, deleted.purge_time));
        assert!(deleted.delete_time.is_some());
        let refused = server.get(&link, &[]).await?;
        assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (404, "FILE_NOT_FOUND"));
        assert_refused(
            client.delete_file(purge.clone()).await,
            Code::NotFound,
            "FILE_NOT_FOUND",
            None,
        );
        let missing_is_fine = DeleteFileRequest { allow_missing: true, ..purge };
        assert_eq!(client.delete_file(missing_is_fine).await?.into_inner().file, None);
        server.assert_empty().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_delete_on_condition_heeds_the_etag() -> Result {
    let server = TestServer::start().await?;
    let mut client = server.client().await?;
    let file = server.upload("a.txt", "x").await?;
    let stale = DeleteFileRequest { etag: "other".into(), ..delete(&file.id) };
    assert_refused(client.delete_file(stale).await, Code::Aborted, "ETAG_MISMATCH", None);
    let true_one = DeleteFileRequest { etag: file.etag, purge: true, ..delete(&file.id) };
    client.delete_file(true_one).await?;
    server.assert_empty().await
}

#[tokio::test]
async fn a_window_of_a_file_reads_back() -> Result {
    let server = TestServer::start().await?;
    let content: Vec<u8> = (0..300_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    let file = server.upload("a.txt", content.clone()).await?;
    for (read_offset, read_limit, expected) in [
        (0, 0, 0..300_000),
        (10, 0, 10..300_000),
        (10, 5, 10..15),
        (-5, 0, 299_995..300_000),
        (-5, 2, 299_995..299_997),
        (-400_000, 3, 0..3),
        (300_000, 0, 300_000..300_000),
        (1, i64::MAX, 1..300_000),
    ] {
        let request = DownloadFileRequest {
            file_id: file.id.clone(),
            user_id: "user-1".into(),
            read_offset,
            read_limit,
        };
        let mut stream = server.client().await?.download_file(request).await?.into_inner();
        let mut received = Vec::new();
        while let Some(next) = stream.message().await? {
            if let Some(Message::Data(data)) = next.message {
                received.extend_from_slice(&data);
            }
        }
        assert_eq!(received, content[expected], "{read_offset}, {read_limit}");
    }
    Ok(())
}

#[tokio::test]
async fn damaged_content_is_said_to_be_and_never_cut_short_in_silence() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", vec![b'x'; 1_000_000]).await?;
    let [blob] = &server.blob_files()[..] else { panic!("one blob") };
    std::fs::OpenOptions::new().write(true).open(blob)?.set_len(999_999)?;
    let request = DownloadFileRequest { file_id: file.id.clone(), ..Default::default() };
    let outcome = server.client().await?.download_file(request).await;
    assert_refused(outcome, Code::DataLoss, "CONTENT_DAMAGED", None);
    let request = files::proto::CreateSignedUrlRequest { file_id: file.id, ..Default::default() };
    let link = server.link(request).await?;
    let refused = server.get(&link, &[]).await?;
    assert_eq!((refused.status.as_u16(), refused.reason().as_str()), (500, "CONTENT_DAMAGED"));
    Ok(())
}
