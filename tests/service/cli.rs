//! The command line against a server: results a script can use, and exit codes it can rely on.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{Result, TestServer, target};

async fn run(server: &TestServer, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
    command.env_clear().env("FILES_SERVER", format!("http://{}", server.grpc));
    Ok(command.args(arguments).kill_on_drop(true).output().await?)
}

/// Standard output of a command that succeeds.
pub async fn succeed(server: &TestServer, arguments: &[&str]) -> Result<String> {
    let output = run(server, arguments).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Exit code and message of a command that fails; nothing is written to standard output.
pub async fn fail(server: &TestServer, arguments: &[&str]) -> Result<(i32, String)> {
    let output = run(server, arguments).await?;
    assert_eq!(String::from_utf8(output.stdout)?, "", "{arguments:?}");
    Ok((output.status.code().unwrap_or(-1), String::from_utf8(output.stderr)?))
}

const OWN: [&str; 4] = ["--user", "user-1", "--purpose", "assistants"];

#[tokio::test]
async fn a_file_goes_in_and_comes_out_by_script() -> Result {
    let server = TestServer::start().await?;
    let directory = tempfile::tempdir()?;
    let content = vec![b'x'; 700_000];
    let (one, two) = (directory.path().join("one.txt"), directory.path().join("two.csv"));
    std::fs::write(&one, &content)?;
    std::fs::write(&two, "a,b\n")?;
    let (one, two) = (one.to_str().expect("UTF-8"), two.to_str().expect("UTF-8"));
    let arguments = [&["upload", one, two, "--label", "k=v"][..], &OWN].concat();
    let uploaded = succeed(&server, &arguments).await?;
    let files: Vec<Value> =
        uploaded.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    assert_eq!(files.len(), 2);
    assert_eq!(
        (&files[0]["filename"], &files[0]["size_bytes"]),
        (&"one.txt".into(), &700_000.into())
    );
    assert_eq!(files[1]["labels"]["k"], "v");
    let id = files[0]["id"].as_str().expect("an id");

    let got: Value = serde_json::from_str(&succeed(&server, &["get", id]).await?)?;
    assert_eq!(got, files[0]);
    let listed = succeed(&server, &["list", "--user", "user-1"]).await?;
    assert_eq!(listed.lines().count(), 2);
    let newest = succeed(&server, &["list", "--user", "user-1", "--limit", "1", "-q"]).await?;
    assert_eq!(newest.lines().count(), 1);

    let out = directory.path().join("out.bin");
    succeed(&server, &["download", id, "-o", out.to_str().expect("UTF-8")]).await?;
    assert!(std::fs::read(&out)? == content);
    assert_eq!(succeed(&server, &["download", id, "-o", "-"]).await?.len(), content.len());

    let url = succeed(&server, &["url", id]).await?;
    let target = target(&url);
    assert!(server.get(target, &[]).await?.body == content);
    let markdown = succeed(&server, &["url", id, "--markdown", "--label", "a]b"]).await?;
    assert!(markdown.starts_with("[a\\]b](<http://localhost:"), "{markdown}");
    succeed(&server, &["revoke", id]).await?;
    assert_eq!(server.get(target, &[]).await?.status, 403);

    let types: Value = serde_json::from_str(&succeed(&server, &["types"]).await?)?;
    assert_eq!(types["file_types"].as_array().map(Vec::len), Some(40));
    succeed(&server, &["delete", id, "--user", "user-1"]).await?;
    assert_eq!(succeed(&server, &["delete", id, "--allow-missing"]).await?, "");
    Ok(())
}

#[tokio::test]
async fn the_same_upload_id_twice_is_one_file() -> Result {
    let server = TestServer::start().await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.txt");
    std::fs::write(&path, "x")?;
    let path = path.to_str().expect("UTF-8");
    let id = "0b0e7c52-3f0e-4a53-9d6e-4a9b2f6f0c11";
    let arguments = [&["upload", path, "-q", "--upload-id", id][..], &OWN].concat();
    let first = succeed(&server, &arguments).await?;
    assert_eq!(succeed(&server, &arguments).await?, first);
    Ok(())
}

#[tokio::test]
async fn failures_have_their_own_exit_codes_and_one_line() -> Result {
    let server = TestServer::start().await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.exe");
    std::fs::write(&path, "x")?;
    let path = path.to_str().expect("UTF-8");
    let unknown = "file_0000000000000000000000";
    let nowhere = ["list", "--user", "u", "--server", "http://127.0.0.1:1"];
    for (arguments, code, word) in [
        (vec!["get", unknown], 3, "FILE_NOT_FOUND"),
        (vec!["get", "nonsense"], 4, "FIELD_INVALID"),
        ([&["upload", path][..], &OWN].concat(), 4, "FILE_TYPE_UNSUPPORTED"),
        ([&["upload", "/does/not/exist"][..], &OWN].concat(), 1, "cannot read"),
        ([&["upload", "-"][..], &OWN].concat(), 2, "--name"),
        (nowhere.to_vec(), 5, "cannot reach the server"),
    ] {
        let (found, message) = fail(&server, &arguments).await?;
        assert_eq!(found, code, "{arguments:?}: {message}");
        assert!(message.contains(word), "{arguments:?}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    }
    assert_eq!(fail(&server, &["upload", path]).await?.0, 2);
    assert_eq!(fail(&server, &["frobnicate"]).await?.0, 2);
    Ok(())
}

#[tokio::test]
async fn a_download_that_fails_leaves_no_file() -> Result {
    let server = TestServer::start().await?;
    let file = server.upload("a.txt", vec![b'x'; 100_000]).await?;
    let [blob] = &server.blob_files()[..] else { panic!("one blob") };
    std::fs::write(blob, vec![b'y'; 100_000])?;
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out.txt");
    let (code, message) =
        fail(&server, &["download", &file.id, "-o", out.to_str().expect("UTF-8")]).await?;
    assert_eq!(code, 1, "{message}");
    assert_eq!(directory.path().read_dir()?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn every_flag_has_help_and_shells_get_completions() -> Result {
    let server = TestServer::start().await?;
    let manual = succeed(&server, &["man"]).await?;
    for command in [
        "serve",
        "upload",
        "url",
        "revoke",
        "get",
        "list",
        "download",
        "update",
        "delete",
        "undelete",
        "attach",
        "detach",
        "delete-reference",
        "usage",
        "types",
    ] {
        let help = succeed(&server, &[command, "--help"]).await?;
        let written = command.replace('-', "\\-");
        assert!(manual.contains(&written), "{command} is not in the manual");
        let mut lines = help.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with('-') {
                let inline = line.trim_start().split("  ").count() > 1;
                let below = lines.peek().is_some_and(|next| next.starts_with("          "));
                assert!(inline || below, "{command}: no help for {line}");
            }
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(&server, &["completions", shell]).await?.contains("upload"));
    }
    Ok(())
}
