//! A real Chromium: what is safe is shown, and nothing that a user uploads runs a script.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use files::proto::{
    CreateSignedUrlRequest, CreateUploadUrlRequest, Disposition, GetFileRequest, ListFilesRequest,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

use crate::{
    support::{Result, TestServer, start, target, tool},
    way::Way,
};

/// What the browser made of a page.
#[derive(Debug, Deserialize)]
struct Visit {
    downloads: usize,
    complaints: Vec<String>,
    text: String,
    red: f64,
    green: f64,
}

async fn visit(urls: &[String]) -> Result<Vec<Visit>> {
    Ok(serde_json::from_slice(&run("visit.mjs", &serde_json::to_vec(urls)?).await?)?)
}

/// Runs a script that drives Chromium; what it writes.
async fn run(script: &str, input: &[u8]) -> Result<Vec<u8>> {
    assert!(
        std::path::Path::new("/usr/bin/chromium").exists(),
        "Chromium is missing: run scripts/test, which installs it"
    );
    tool("node_modules/playwright-core");
    let script = format!("{}/tests/browser/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new("node")
        .arg(script)
        .env("FILES_TEST_NODE_MODULES", tool("node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    assert!(output.status.success(), "the browser failed");
    Ok(output.stdout)
}

/// A web page of somebody else's, and the place where scripts that do run report to.
struct Site {
    address: SocketAddr,
    reports: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Answers `/report…` by noting it, and anything else with the page made by `page`.
    async fn start(page: impl Fn(&str) -> String + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let reports = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&reports);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 8192];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let body = page(&target);
                if target.starts_with("/report") {
                    noted.lock().expect("the reports").push(target);
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nAccess-Control-Allow-Origin: *\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Ok(Self { address, reports })
    }

    fn reports(&self) -> Vec<String> {
        self.reports.lock().expect("the reports").clone()
    }
}

async fn url(server: &TestServer, file_id: &str, disposition: Disposition) -> Result<String> {
    let request = CreateSignedUrlRequest {
        file_id: file_id.to_owned(),
        disposition: disposition.into(),
        ..Default::default()
    };
    Ok(format!("http://{}{}", server.http, server.link(request).await?))
}

async fn uploaded(server: &TestServer, name: &str, content: Vec<u8>) -> Result<String> {
    let file = server.upload(name, content).await?;
    url(server, &file.id, Disposition::Inline).await
}

fn fixture(name: &str) -> Result<Vec<u8>> {
    let path = format!("{}/tests/browser/{name}", env!("CARGO_MANIFEST_DIR"));
    Ok(std::fs::read(path)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_types_are_shown_inline() -> Result {
    let server = TestServer::start().await?;
    let source = "<script>document.title = 'not run'</script> naïve";
    let urls = [
        uploaded(&server, "red.png", fixture("red.png")?).await?,
        uploaded(&server, "green.pdf", fixture("green.pdf")?).await?,
        uploaded(&server, "notes.txt", source.into()).await?,
        uploaded(&server, "code.js", source.into()).await?,
        uploaded(&server, "silence.wav", fixture("silence.wav")?).await?,
    ];
    let visits = visit(&urls).await?;
    let [png, pdf, txt, js, wav] = &visits[..] else { panic!("five visits") };
    assert!(visits.iter().all(|visit| visit.downloads == 0), "{visits:?}");
    assert!(png.red > 0.001, "{png:?}");
    assert!(pdf.green > 0.05, "{pdf:?}");
    for page in [txt, js] {
        assert!(page.text.contains(source), "{page:?}");
    }
    // Its player loads the same URL once more, which the policy must allow.
    assert_eq!(wav.complaints, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_uploaded_runs_a_script() -> Result {
    let server = TestServer::start().await?;
    // The page of a stranger embeds, in every way there is, what its address names.
    let site = Site::start(|target| {
        let Some((_, embedded)) = target.split_once("/embed?") else {
            return format!("<script>fetch('/report-control{}')</script>", target.len());
        };
        format!(
            "<img src=\"{embedded}\"><iframe src=\"{embedded}\"></iframe><embed src=\"{embedded}\">\
             <object data=\"{embedded}\"></object><script src=\"{embedded}\"></script>\
             <link rel=stylesheet href=\"{embedded}\">"
        )
    })
    .await?;
    let report = |kind: &str| format!("fetch('http://{}/report-{kind}')", site.address);
    let html = format!("<!DOCTYPE html><script>{}</script><b>html</b>", report("html"));
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' onload=\"{}\"><script>{}</script></svg>",
        report("onload"),
        report("svg")
    );
    let mut targets = Vec::new();
    for (name, content) in [
        ("page.html", html.clone()),
        ("image.svg", svg),
        ("page.txt", html.clone()),
        ("page.md", html),
        ("code.js", report("js")),
        ("polyglot.gif", format!("GIF89a=1;{}", report("gif"))),
    ] {
        let file = server.upload(name, content).await?;
        for disposition in [Disposition::Inline, Disposition::Attachment] {
            targets.push(url(&server, &file.id, disposition).await?);
        }
    }
    let embedding = targets.iter().map(|url| format!("http://{}/embed?{url}", site.address));
    let control = format!("http://{}/control", site.address);
    let urls: Vec<String> =
        targets.iter().cloned().chain(embedding).chain([control.clone()]).collect();
    let visits = visit(&urls).await?;
    // Scripts do run in this browser and do reach the site: the control says so, and nothing else.
    let reports = site.reports();
    assert!(!reports.is_empty(), "the control did not run");
    assert!(reports.iter().all(|it| it.starts_with("/report-control")), "{reports:?}");
    let html_and_svg = &visits[..4];
    assert!(html_and_svg.iter().all(|visit| visit.downloads == 1), "{html_and_svg:?}");
    Ok(())
}

/// What became of an upload from a page.
#[derive(Debug, Deserialize)]
struct Upload {
    /// What the client had to try again for.
    retries: usize,
    /// The offsets at which it went on, as HEAD told them.
    resumed_at: Vec<u64>,
    file_id: String,
    sha256: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_tus_client_in_a_page_goes_on_after_breaks() -> Result {
    tool("node_modules/tus-js-client");
    let site = Site::start(|_| "<title>a page of the platform's</title>".to_owned()).await?;
    let origin = format!("http://{}", site.address);
    let server = TestServer::configured(&[("FILES__HTTP__CORS_ORIGINS", &origin)]).await?;
    // The preflight and the creation go before the content on connections of the browser's choice: all of those
    // that carry much break.
    let cuts = [(9_000_000, u64::MAX); 6];
    let way = Way::to(server.http, &cuts).await?;
    let request = CreateUploadUrlRequest { start: Some(start("clip.mp4")), ..Default::default() };
    let url = server.client().await?.create_upload_url(request).await?.into_inner().url;
    let endpoint = format!("http://{}{}", way.address, target(&url));
    let input = serde_json::json!({"page": origin, "endpoint": endpoint, "size": 40_000_001});
    let output = run("tus.mjs", &serde_json::to_vec(&input)?).await?;
    let upload: Upload = serde_json::from_slice(&output)?;
    assert!(
        upload.retries >= 2 && upload.resumed_at.iter().any(|at| *at > 1_000_000),
        "{upload:?}"
    );
    let request = GetFileRequest { file_id: upload.file_id, ..Default::default() };
    let file = server.client().await?.get_file(request).await?.into_inner().file.expect("a file");
    assert_eq!((file.size_bytes, file.filename.as_str()), (40_000_001, "clip.mp4"));
    assert_eq!(hex::encode(&file.sha256), upload.sha256);
    let request = ListFilesRequest { user_id: file.user_id, ..Default::default() };
    assert_eq!(server.client().await?.list_files(request).await?.into_inner().files.len(), 1);
    Ok(())
}
