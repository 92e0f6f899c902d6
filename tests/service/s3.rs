//! The service over a bucket: files go in and out, readers are sent to the store, and what it says of a store
//! that is not there, or goes and comes back.

use std::time::Duration;

use files::proto::{CreateSignedUrlRequest, Disposition, File};
use tonic::Code;
use uuid::Uuid;

use crate::{
    seaweed::{self, Server},
    support::{
        Result, TestServer, assert_refused, assert_round_trips, exchange, request, start, upload,
    },
};

type Settings = Vec<(&'static str, String)>;

/// What configures a bucket behind this port, below a prefix that nobody else uses.
fn settings(port: u16) -> Settings {
    vec![
        ("FILES__STORAGE__URL", format!("s3://{}/{}", seaweed::BUCKET, Uuid::new_v4())),
        ("FILES__STORAGE__S3__ENDPOINT", seaweed::endpoint(port).to_string()),
        ("FILES__STORAGE__S3__ACCESS_KEY_ID", seaweed::ACCESS_KEY_ID.to_owned()),
        ("FILES__STORAGE__S3__SECRET_ACCESS_KEY", seaweed::SECRET_ACCESS_KEY.to_owned()),
    ]
}

async fn server(settings: &Settings) -> Result<TestServer> {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestServer::configured(&settings).await
}

async fn over(store: &Server, more: &[(&'static str, &str)]) -> Result<TestServer> {
    store.ready().await;
    let mut settings = settings(store.port);
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    server(&settings).await
}

async fn link(server: &TestServer, file: &File, disposition: Disposition) -> Result<String> {
    let disposition = disposition.into();
    let file_id = file.id.clone();
    server.link(CreateSignedUrlRequest { file_id, disposition, ..Default::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_into_a_bucket_and_comes_out() -> Result {
    let server = over(seaweed::shared(), &[]).await?;
    assert_round_trips(&server, &[0, 1, 100_000, 20_000_000]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_sent_to_the_store_where_that_is_safe() -> Result {
    let server = over(seaweed::shared(), &[("FILES__DOWNLOADS__REDIRECT", "true")]).await?;
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &[7; 1000]].concat();
    let file = server.upload("plot.png", png.clone()).await?;
    let target = link(&server, &file, Disposition::Unspecified).await?;
    let sent = server.get(&target, &[]).await?;
    assert_eq!((sent.status.as_u16(), sent.header("cache-control")), (302, "no-store"));
    let location: url::Url = sent.header("location").parse()?;
    let address = location.socket_addrs(|| None)?[0];
    // The host is signed, too.
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        &location[url::Position::BeforePath..]
    );
    let answer = exchange(address, head.as_bytes()).await?;
    assert_eq!(answer.status, 200);
    assert!(answer.body == png);
    let direct = server.get(&target, &[("If-None-Match", "\"none\"")]).await?;
    assert_eq!(direct.status, 302);
    let head = request(server.http, "HEAD", &target, &[]).await?;
    assert_eq!(head.status, 200);
    for header in ["content-type", "content-disposition", "cache-control"] {
        assert_eq!(answer.header(header), head.header(header), "{header}");
    }
    // Text needs `nosniff`, which the store does not send, be it shown or saved.
    for name in ["page.js", "page.ts", "page.css", "page.txt"] {
        let text = server.upload(name, "alert(1)").await?;
        for disposition in [Disposition::Unspecified, Disposition::Attachment] {
            let target = link(&server, &text, disposition).await?;
            assert_eq!(server.get(&target, &[]).await?.status, 200, "{name}");
        }
    }
    let page = server.upload("page.html", "<script>alert(1)</script>").await?;
    let saved = link(&server, &page, Disposition::Inline).await?;
    let saved = server.get(&saved, &[]).await?;
    assert_eq!(saved.status, 302);
    assert!(saved.header("location").contains("attachment"), "{saved:?}");
    // A link that has ended sends nobody anywhere.
    server.clock.advance(Duration::from_secs(3600));
    assert_eq!(server.get(&target, &[]).await?.status, 410);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_names_what_is_wrong_with_the_bucket() -> Result {
    let store = seaweed::shared();
    store.ready().await;
    let spoilt: [(&str, &str); 3] = [
        ("FILES__STORAGE__S3__SECRET_ACCESS_KEY", "another-secret"),
        ("FILES__STORAGE__URL", "s3://nobodys-bucket"),
        ("FILES__STORAGE__S3__ENDPOINT", "http://127.0.0.1:1"),
    ];
    for (name, value) in spoilt {
        let mut settings = settings(store.port);
        for (known, kept) in &mut settings {
            if *known == name {
                value.clone_into(kept);
            }
        }
        let refused = server(&settings).await.err().expect("a refusal");
        let told = format!("{refused:#}");
        assert!(told.contains("cannot open the storage"), "{told}");
        assert!(told.contains("check host, port and credentials"), "{told}");
        assert!(!told.contains(seaweed::SECRET_ACCESS_KEY), "{told}");
        assert!(!told.contains("another-secret"), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_turns_readiness_off_and_comes_back() -> Result {
    let store = tokio::task::spawn_blocking(Server::start).await?;
    let server = over(&store, &[]).await?;
    let file = server.upload("a.txt", "content").await?;
    let link = link(&server, &file, Disposition::Unspecified).await?;
    assert_eq!(server.get("/readyz", &[]).await?.status, 200);
    store.kill();
    let unready = server.get("/readyz", &[]).await?;
    let told = (unready.status.as_u16(), unready.reason());
    assert_eq!(told, (503, "STORAGE_UNAVAILABLE".to_owned()));
    let away = server.get(&link, &[]).await?;
    assert_eq!((away.status.as_u16(), away.header("retry-after")), (503, "1"));
    let mut client = server.client().await?;
    let away = upload(&mut client, start("b.txt"), "b").await;
    assert_refused(away, Code::Unavailable, "STORAGE_UNAVAILABLE", None);
    store.start_again();
    store.ready().await;
    assert_eq!(server.get("/readyz", &[]).await?.status, 200);
    assert_eq!(server.get(&link, &[]).await?.body, b"content");
    upload(&mut client, start("b.txt"), "b").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_is_checked_from_the_command_line() -> Result {
    let store = seaweed::shared();
    store.ready().await;
    let check = async |settings: &Settings| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_files"));
        command.env_clear().args(["storage", "check"]).kill_on_drop(true);
        command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        command.output().await
    };
    let settings = settings(store.port);
    let checked = check(&settings).await?;
    assert!(checked.status.success(), "{checked:?}");
    let steps: Vec<serde_json::Value> = String::from_utf8(checked.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?;
    let told: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    let all = ["reach", "write", "read", "list", "delete"];
    assert_eq!(told, [all, all].concat());
    assert!(steps.iter().all(|step| step["took_ms"].is_number()));
    let away = [("FILES__STORAGE__S3__ENDPOINT", "http://127.0.0.1:1".to_owned())];
    let spoilt: Settings = settings.into_iter().chain(away).collect();
    let refused = check(&spoilt).await?;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr)?;
    assert!(told.contains("check host, port and credentials"), "{told}");
    assert!(!told.contains(seaweed::SECRET_ACCESS_KEY), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_an_hour_apart_are_said_and_do_no_harm() -> Result {
    let store = seaweed::shared();
    store.ready().await;
    for apart in ["+1h", "-1h"] {
        let mut command = tokio::process::Command::new("faketime");
        command.args(["-f", apart, env!("CARGO_BIN_EXE_files"), "storage", "check"]);
        command.envs(settings(store.port)).kill_on_drop(true);
        let checked = command.output().await?;
        let told = String::from_utf8(checked.stderr)?;
        assert!(checked.status.success(), "{apart}: {told}");
        assert!(told.contains("clock and this machine's are far apart"), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_verify_is_refused_and_one_that_is_trusted_is_not() -> Result {
    let directory = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let [https] = seaweed::free_ports();
    let store = tokio::task::spawn_blocking({
        let (certificate, key) = (certificate.clone(), key.clone());
        move || {
            Server::start_with(&format!(
                "-s3.port.https={https} -s3.cert.file={} -s3.key.file={}",
                certificate.display(),
                key.display()
            ))
        }
    })
    .await?;
    let mut trusting = settings(store.port);
    for (name, value) in &mut trusting {
        if *name == "FILES__STORAGE__S3__ENDPOINT" {
            *value = format!("https://localhost:{https}");
        }
    }
    let suspicious = trusting.clone();
    let path = certificate.to_str().expect("UTF-8").to_owned();
    trusting.push(("FILES__STORAGE__S3__CA_FILE", path));
    store.ready().await;
    let refused = server(&suspicious).await.err().expect("a refusal");
    let told = format!("{refused:#}");
    assert!(told.contains("that its certificate is trusted"), "{told}");
    assert!(told.to_lowercase().contains("certificate: "), "{told}");
    let server = server(&trusting).await?;
    server.upload("a.txt", "content").await?;
    Ok(())
}
