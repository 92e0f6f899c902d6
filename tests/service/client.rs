//! The Rust client, over connections that break.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
    time::Duration,
};

use files::{
    client::{Client, ClientError, Content, NewFile},
    proto::{File, ListFilesRequest},
};
use futures_util::TryStreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use uuid::Uuid;

use crate::{
    support::{Result, TestServer},
    way::Way,
};

const SIZE: usize = 24_000_001;

async fn client(way: &Way) -> Result<Client> {
    Ok(Client::connect(&format!("http://{}", way.address)).await?)
}

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

fn new_file() -> NewFile {
    NewFile {
        user_id: "user-1".to_owned(),
        purpose: "assistants".to_owned(),
        filename: "a.txt".to_owned(),
        ..NewFile::default()
    }
}

async fn uploaded(client: &Client, file: NewFile) -> Result<(File, Vec<u64>)> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let content = Content::seekable(Cursor::new(content()));
    let progress = move |sent| seen.lock().expect("the progress").push(sent);
    let file = client.upload(file, content, progress).await?;
    let told = told.lock().expect("the progress").clone();
    Ok((file, told))
}

#[tokio::test]
async fn an_upload_goes_on_after_every_break() -> Result {
    let server = TestServer::start().await?;
    let cuts =
        [(9_000_000, u64::MAX), (5_000_000, u64::MAX), (100, u64::MAX), (7_000_000, u64::MAX)];
    let way = Way::to(server.grpc, &cuts).await?;
    let (file, told) = uploaded(&client(&way).await?, new_file()).await?;
    way.assert_used_up(4);
    assert_eq!(file.size_bytes, SIZE as i64);
    assert!(told.is_sorted() && told.last() == Some(&(SIZE as u64)), "{told:?}");
    assert_eq!(server.rows("files").await?, 1);
    let mut back = Vec::new();
    client(&way).await?.download(&file.id, "user-1", &mut back, |_, _| ()).await?;
    assert!(back == content());
    Ok(())
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_again() -> Result {
    let server = TestServer::start().await?;
    // The answer to an upload is some hundred bytes, and the first of them are lost, too.
    let way = Way::to(server.grpc, &[(u64::MAX, 200)]).await?;
    let (file, _) = uploaded(&client(&way).await?, new_file()).await?;
    way.assert_used_up(1);
    assert_eq!(file.size_bytes, SIZE as i64);
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() -> Result {
    let server = TestServer::start().await?;
    let way = Way::to(server.grpc, &[(17_000_000, u64::MAX)]).await?;
    let id = Uuid::new_v4();
    let upload_id = Some(id);
    let first = Content::stream(Cursor::new(content()));
    let file = || NewFile { upload_id, ..new_file() };
    // A stream cannot be read again from what was on its way.
    let broken = client(&way).await?.upload(file(), first, |_| ()).await;
    assert!(matches!(broken, Err(ClientError::Call(_))), "{broken:?}");
    let client = client(&way).await?;
    let known = client.find_upload("user-1", &id).await?;
    assert!(known.persisted_size_bytes > 10_000_000);
    // What is durable is not sent again: the way would break.
    let way = Way::to(server.grpc, &[(SIZE as u64 - 9_000_000, u64::MAX)]).await?;
    let client = self::client(&way).await?;
    uploaded(&client, file()).await?;
    assert_eq!(way.connections(), 1);
    let (again, _) = uploaded(&client, file()).await?;
    assert_eq!(again.size_bytes, SIZE as i64);
    assert_eq!(server.rows("files").await?, 1);
    Ok(())
}

#[tokio::test]
async fn another_content_for_a_finished_upload_is_noticed() -> Result {
    let server = TestServer::start().await?;
    let client = Client::connect(&format!("http://{}", server.grpc)).await?;
    let file = NewFile { upload_id: Some(Uuid::new_v4()), ..new_file() };
    uploaded(&client, file.clone()).await?;
    let other = Content::seekable(Cursor::new(b"another".to_vec()));
    let answer = client.upload(file, other, |_| ()).await;
    assert!(matches!(answer, Err(ClientError::Incomplete(_))), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_download_goes_on_after_every_break() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", content()).await?;
    let way = Way::to(server.grpc, &[(u64::MAX, 9_000_000), (u64::MAX, 50), (u64::MAX, 8_000_000)]);
    let way = way.await?;
    let mut back = Vec::new();
    let told = Mutex::new(0);
    let progress = |received, size| {
        assert_eq!(size, SIZE as u64);
        let mut told = told.lock().expect("the progress");
        assert!(received > *told);
        *told = received;
    };
    client(&way).await?.download(&file.id, "user-1", &mut back, progress).await?;
    way.assert_used_up(3);
    assert!(back == content());
    Ok(())
}

#[tokio::test]
async fn listings_go_on_after_a_break_and_calls_end_in_time() -> Result {
    let server = TestServer::start().await?;
    for n in 0..5 {
        server.upload(&format!("{n}.txt"), "x").await?;
    }
    let way = Way::to(server.grpc, &[(u64::MAX, 700)]).await?;
    let client = client(&way).await?;
    let request =
        ListFilesRequest { user_id: "user-1".to_owned(), page_size: 1, ..Default::default() };
    let names: Vec<String> =
        client.list(request).map_ok(|file| file.filename).try_collect().await?;
    assert_eq!(names.len(), 5);
    way.assert_used_up(1);
    let late = client.within(Duration::ZERO).capabilities().await;
    assert!(matches!(late, Err(ClientError::Call(status)) if status.message().contains("time")));
    Ok(())
}

#[tokio::test]
async fn the_deadline_and_the_trace_are_passed_on() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = Client::connect(&format!("http://{}", listener.local_addr()?)).await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let client = client.traced(trace)?.within(Duration::from_secs(5));
    let call = tokio::spawn(async move { client.capabilities().await });
    // Header fields that no table knows go as they are: HPACK without Huffman has to be looked for in both forms.
    let (mut stream, _) = listener.accept().await?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await?;
    while !has(&seen, b"traceparent") && !has(&seen, &huffman("traceparent")) {
        let read = stream.read(&mut buffer).await?;
        assert!(read > 0, "the call ended without a trace");
        seen.extend_from_slice(&buffer[..read]);
    }
    assert!(has(&seen, b"grpc-timeout") || has(&seen, &huffman("grpc-timeout")));
    call.abort();
    Ok(())
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The whole bytes of a word in HPACK's Huffman code (RFC 7541, appendix B), for the letters used here.
fn huffman(word: &str) -> Vec<u8> {
    let code = |letter| match letter {
        'a' => "00011",
        'c' => "00100",
        'e' => "00101",
        'g' => "100110",
        'i' => "00110",
        'm' => "101001",
        'n' => "101010",
        'o' => "00111",
        'p' => "101011",
        'r' => "101100",
        't' => "01001",
        'u' => "101101",
        '-' => "010110",
        _ => unreachable!("no such letter here"),
    };
    let bits: String = word.chars().map(code).collect();
    let whole = bits.len() / 8;
    let byte = |n: usize| u8::from_str_radix(&bits[n * 8..n * 8 + 8], 2).expect("bits");
    (0..whole).map(byte).collect()
}
