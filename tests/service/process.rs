//! The binary as an operator runs it: starting, refusing to start, draining, logging.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use files::proto::{CreateSignedUrlRequest, upload_file_request::Message};
use nix_signal::{interrupt, kill, terminate};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    Client, Result, assert_refused, data, finish, message, request, start, target, upload,
};

/// Signals, by the process id of a child.
mod nix_signal {
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::process::Child;

    fn send(child: &Child, signal: Signal) {
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).expect("a running child");
        kill_process(pid, signal).expect("a signal sent");
    }

    pub fn terminate(child: &Child) {
        send(child, Signal::TERM);
    }

    pub fn interrupt(child: &Child) {
        send(child, Signal::INT);
    }

    pub fn kill(child: &Child) {
        send(child, Signal::KILL);
    }
}

fn files() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
    command.env_clear().kill_on_drop(true);
    command
}

fn serve(data: &Path, more: &[&str]) -> Command {
    let mut command = files();
    command
        .args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(more)
        .stderr(Stdio::piped());
    command
}

/// A server process, once it says where it listens.
struct Process {
    child: Child,
    logs: Lines<BufReader<ChildStderr>>,
    seen: Vec<String>,
    grpc: String,
    http: String,
}

impl Process {
    async fn start(mut command: Command) -> Result<Self> {
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().expect("a pipe");
        let mut process = Self {
            child,
            logs: BufReader::new(stderr).lines(),
            seen: Vec::new(),
            grpc: String::new(),
            http: String::new(),
        };
        let line = process.wait_for("serving").await?;
        let address = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (process.grpc, process.http) = (address("grpc"), address("http"));
        Ok(process)
    }

    /// Reads logs until a line with this message.
    async fn wait_for(&mut self, text: &str) -> Result<Value> {
        while let Some(line) = self.logs.next_line().await? {
            self.seen.push(line.clone());
            let line: Value = serde_json::from_str(&line)?;
            if line["message"].as_str().is_some_and(|it| it.contains(text)) {
                return Ok(line);
            }
        }
        anyhow::bail!("no log line says {text:?}: {:#?}", self.seen);
    }

    /// The exit code, and every log line.
    async fn end(mut self) -> Result<(Option<i32>, String)> {
        let status = self.child.wait().await?;
        while let Some(line) = self.logs.next_line().await? {
            self.seen.push(line);
        }
        Ok((status.code(), self.seen.join("\n")))
    }

    /// Uploads and files that the database knows, counted on the side.
    fn uploads(&self, data: &Path) -> Result<i64> {
        let connection = rusqlite::Connection::open(data.join("metadata.db"))?;
        Ok(connection.query_row("SELECT count(*) FROM files", [], |row| row.get(0))?)
    }

    async fn client(&self) -> Result<Client> {
        Ok(Client::connect(format!("http://{}", self.grpc)).await?)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn both_signals_drain_and_exit_with_success() -> Result {
    for signal in [terminate, interrupt] {
        let directory = tempfile::tempdir()?;
        let process = Process::start(serve(&directory.path().join("data"), &[])).await?;
        upload(&mut process.client().await?, start("a.txt"), "x").await?;
        signal(&process.child);
        let (code, logs) = process.end().await?;
        assert_eq!(code, Some(0), "{logs}");
        assert!(logs.contains("stopped"), "{logs}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill() -> Result {
    let directory = tempfile::tempdir()?;
    let process = Process::start(serve(directory.path(), &[])).await?;
    let mut ids = Vec::new();
    for content in [&b""[..], b"small", &vec![b'x'; 1_000_000]] {
        let answer = upload(&mut process.client().await?, start("a.txt"), content.to_vec()).await?;
        ids.push((answer.file.expect("a file").id, content.to_vec()));
    }
    kill(&process.child);
    process.end().await?;
    let process = Process::start(serve(directory.path(), &[])).await?;
    for (file_id, content) in ids {
        let request_link = CreateSignedUrlRequest { file_id, ..Default::default() };
        let link = process.client().await?.create_signed_url(request_link).await?.into_inner();
        let target = target(&link.url);
        let answer = request(process.http.parse()?, "GET", target, &[]).await?;
        assert!(answer.body == content);
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_under_way_finishes_during_the_drain() -> Result {
    let directory = tempfile::tempdir()?;
    let mut process = Process::start(serve(directory.path(), &[])).await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    sender.send(data("con")).await?;
    let mut client = process.client().await?;
    let call = tokio::spawn(async move { client.upload_file(ReceiverStream::new(receiver)).await });
    // Once its intent is durable, the call is under way.
    while process.uploads(directory.path())? == 0 {
        tokio::task::yield_now().await;
    }
    terminate(&process.child);
    process.wait_for("shutting down").await?;
    sender.send(data("tent")).await?;
    sender.send(finish()).await?;
    drop(sender);
    let file = call.await??.into_inner().file.expect("a file");
    assert_eq!(file.size_bytes, 7);
    assert_eq!(process.end().await?.0, Some(0));
    Ok(())
}

#[tokio::test]
async fn an_upload_that_outlasts_the_drain_is_cut_and_leaves_nothing() -> Result {
    let directory = tempfile::tempdir()?;
    let mut command = serve(directory.path(), &[]);
    command.env("FILES__SHUTDOWN__DRAIN_TIMEOUT", "200ms");
    let mut process = Process::start(command).await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    for _ in 0..3 {
        sender.send(data(vec![b'x'; 1 << 20])).await?;
    }
    let mut client = process.client().await?;
    let call = tokio::spawn(async move { client.upload_file(ReceiverStream::new(receiver)).await });
    let staging = directory.path().join("blobs/staging");
    while staging.read_dir()?.count() == 0 {
        tokio::task::yield_now().await;
    }
    terminate(&process.child);
    process.wait_for("cut off").await?;
    assert_refused(call.await?, Code::Unavailable, "SHUTTING_DOWN", None);
    assert_eq!(process.end().await?.0, Some(0));
    assert_eq!(staging.read_dir()?.count(), 0);
    drop(sender);
    Ok(())
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() -> Result {
    let directory = tempfile::tempdir()?;
    let first = Process::start(serve(directory.path(), &[])).await?;
    for role in ["all", "grpc", "http"] {
        let second = serve(directory.path(), &["--role", role]).output().await?;
        assert_eq!(second.status.code(), Some(1), "{role}");
        assert!(stderr(&second).contains("another server is running on the data directory"));
    }
    kill(&first.child);
    first.end().await?;
    // Locks end with their process: nothing stale is in the way.
    Process::start(serve(directory.path(), &[])).await?;
    Ok(())
}

#[tokio::test]
async fn two_roles_share_one_directory() -> Result {
    let directory = tempfile::tempdir()?;
    let grpc = Process::start(serve(directory.path(), &["--role", "grpc"])).await?;
    let http = Process::start(serve(directory.path(), &["--role", "http"])).await?;
    assert!(grpc.http.is_empty() && http.grpc.is_empty());
    let mut client = grpc.client().await?;
    let file = upload(&mut client, start("a.txt"), "shared").await?.file.expect("a file");
    let wish = CreateSignedUrlRequest { file_id: file.id.clone(), ..Default::default() };
    let link = client.create_signed_url(wish).await?.into_inner();
    let target = target(&link.url);
    let address = http.http.parse()?;
    for _ in 0..3 {
        assert_eq!(request(address, "GET", target, &[]).await?.body, b"shared");
    }
    let deletion = files::proto::DeleteFileRequest { file_id: file.id, ..Default::default() };
    client.delete_file(deletion).await?;
    assert_eq!(request(address, "GET", target, &[]).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_listener_beyond_loopback_needs_a_word() -> Result {
    let directory = tempfile::tempdir()?;
    let open = ["--grpc", "0.0.0.0:0"];
    let mut command = files();
    command.arg("serve").arg("--data").arg(directory.path()).args(open);
    let refused = command.output().await?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--allow-unauthenticated"), "{}", stderr(&refused));
    let mut allowed = files();
    allowed.args(["serve", "--http", "127.0.0.1:0", "--allow-unauthenticated", "--data"]);
    allowed.arg(directory.path()).args(open).stderr(Stdio::piped());
    Process::start(allowed).await?;
    Ok(())
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_told_together() -> Result {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("files.toml");
    std::fs::write(&file, "colour = 1\n[grpc]\nlisten = 'here'\n")?;
    for command in [&["serve"][..], &["config", "check"]] {
        let mut run = files();
        run.args(command).arg("--config").arg(&file).env("FILES__HTTP__PORT", "1");
        let refused = run.output().await?;
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        for name in ["colour", "grpc.listen", "FILES__HTTP__PORT"] {
            assert!(stderr(&refused).contains(name), "{name} in {}", stderr(&refused));
        }
    }
    Ok(())
}

#[tokio::test]
async fn config_check_shows_settings_and_no_secret() -> Result {
    let directory = tempfile::tempdir()?;
    let keys = directory.path().join("keys");
    std::fs::write(&keys, "0123456789abcdef0123456789abcdef\n")?;
    let from_file = ("FILES__SIGNING__KEYS_FILE", keys.to_str().expect("a UTF-8 path"));
    let inline = ("FILES__SIGNING__KEYS", "0123456789abcdef0123456789abcdef");
    for (name, value) in [from_file, inline] {
        let mut command = files();
        command.args(["config", "check", "--grpc", "127.0.0.1:1"]).env(name, value);
        let shown = command.output().await?;
        let text = String::from_utf8(shown.stdout)?;
        assert_eq!(shown.status.code(), Some(0));
        assert!(text.contains("grpc.listen = \"127.0.0.1:1\"  # --grpc"), "{text}");
        assert!(!text.contains("0123456789abcdef"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_signing_key_is_made_once_and_private() -> Result {
    let directory = tempfile::tempdir()?;
    let key = directory.path().join("data/signing.key");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let process = Process::start(serve(&directory.path().join("data"), &[])).await?;
        terminate(&process.child);
        process.end().await?;
        assert_eq!(std::fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
        keys.push(std::fs::read_to_string(&key)?);
    }
    assert_eq!(keys[0], keys[1]);
    Ok(())
}

#[tokio::test]
async fn logs_are_json_and_hold_no_signature_key_or_content() -> Result {
    let directory = tempfile::tempdir()?;
    let mut command = serve(directory.path(), &[]);
    command.env("FILES__LOG__LEVEL", "trace,h2=off");
    let process = Process::start(command).await?;
    let secret = "content that nobody but the owner may read";
    let mut client = process.client().await?;
    let file = upload(&mut client, start("a.txt"), secret).await?.file.expect("a file");
    let wish = CreateSignedUrlRequest { file_id: file.id, ..Default::default() };
    let link = client.create_signed_url(wish).await?.into_inner();
    let target = target(&link.url);
    let (_, signature) = target.split_once("signature=").expect("a signature");
    let address = process.http.parse()?;
    assert_eq!(request(address, "GET", target, &[("x-request-id", "id-7")]).await?.status, 200);
    let long = format!("{target}&filename={}", "x".repeat(3000));
    assert_eq!(request(address, "GET", &long, &[]).await?.status, 414);
    terminate(&process.child);
    let (_, logs) = process.end().await?;
    let key = std::fs::read_to_string(directory.path().join("signing.key"))?;
    for line in logs.lines() {
        serde_json::from_str::<Value>(line)?;
        // Byte arrays in debug form would hide a text from a plain search.
        assert!(!line.contains(signature) && !line.contains(key.trim()), "{line}");
        assert!(!line.contains(secret), "{line}");
    }
    assert!(logs.contains("id-7"), "no line carries the request id");
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_told_plainly() -> Result {
    let directory = tempfile::tempdir()?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    let mut command = files();
    command.args(["serve", "--grpc", &address, "--http", "127.0.0.1:0", "--data"]);
    let refused = command.arg(directory.path()).output().await?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains(&format!("cannot listen on {address}")));
    Ok(())
}

#[tokio::test]
async fn probes_tell_of_the_drain() -> Result {
    let directory = tempfile::tempdir()?;
    let mut process = Process::start(serve(directory.path(), &[])).await?;
    let mut client = process.client().await?;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(message(Message::Start(start("a.txt")))).await?;
    let call = tokio::spawn(async move { client.upload_file(ReceiverStream::new(receiver)).await });
    while process.uploads(directory.path())? == 0 {
        tokio::task::yield_now().await;
    }
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", process.grpc))?;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.connect().await?);
    let watch = tonic_health::pb::HealthCheckRequest::default();
    let mut states = health.watch(watch).await?.into_inner();
    assert_eq!(states.message().await?.map(|it| it.status), Some(1));
    terminate(&process.child);
    process.wait_for("shutting down").await?;
    assert_eq!(states.message().await?.map(|it| it.status), Some(2));
    drop((states, sender));
    assert_refused(call.await?, Code::Aborted, "UPLOAD_INCOMPLETE", None);
    let ended = tokio::time::timeout(Duration::from_secs(20), process.end()).await??;
    assert_eq!(ended.0, Some(0));
    Ok(())
}

#[tokio::test]
async fn metrics_are_shown_where_they_are_wanted() -> Result {
    let directory = tempfile::tempdir()?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = serve(directory.path(), &[]);
    command.env("FILES__METRICS__LISTEN", free.to_string());
    let _server = Process::start(command).await?;
    let answer = request(free, "GET", "/metrics", &[]).await?;
    let text = String::from_utf8(answer.body)?;
    for line in
        ["files_sweep_removed_total 0", "files_sweep_braked 0", "files_scrub_damaged_total 0"]
    {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.contains("# HELP files_sweep_strays "), "{text}");
    Ok(())
}
