//! Downloads over HTTP behind signed URLs: by the service, and by nginx in both its settings.

use anyhow::{Result, ensure};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    Bench,
    case::{Amount, Case, Run},
    content::Content,
    http::{Connection, request},
    nginx::{self, Setting},
    process::Process,
    scale::{SMALL_AT_ONCE, SMALL_BYTES, spoken},
    upload::Uploader,
};

/// A server that gives the files out.
struct Target<'a> {
    by: &'static str,
    process: &'a Process,
    port: u16,
    large: Vec<Wanted>,
    small: Vec<Wanted>,
}

/// A file to be downloaded.
struct Wanted {
    target: String,
    request: Vec<u8>,
    size_bytes: u64,
    sha256: Bytes,
}

impl Wanted {
    fn new(target: String, content: &Content) -> Self {
        Self {
            request: request(&target),
            target,
            size_bytes: content.size_bytes,
            sha256: content.sha256.clone(),
        }
    }
}

/// Downloads of the large file and of the small ones, by each server in turn. Each file's hash is checked
/// here, once, which also brings it into memory; later on only lengths are.
pub(crate) fn cases(bench: &Bench) -> Result<Vec<Case<'_>>> {
    let mut targets = vec![service(bench)?];
    for setting in Setting::ALL {
        targets.extend(nginx(bench, setting)?);
    }
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for target in targets {
        check(&target)?;
        let Target { by, process, port, .. } = target;
        large.push(Case::new(
            large_work(bench.scale.large_bytes),
            by,
            Amount::Bytes(bench.scale.large_bytes),
            move || Run::of(Some(process), || fetch(port, &target.large, 1, 1)),
        ));
        let (files, passes) = (bench.scale.small_files, bench.scale.small_passes);
        let work = format!("download {} × {files}, {SMALL_AT_ONCE} at once", spoken(SMALL_BYTES));
        small.push(Case::new(work, by, Amount::Pieces(files * passes), move || {
            Run::of(Some(process), || fetch(port, &target.small, passes, SMALL_AT_ONCE))
        }));
    }
    large.extend(small);
    Ok(large)
}

/// What downloading the large file is called.
pub(crate) fn large_work(bytes: u64) -> String {
    format!("download {} × 1", spoken(bytes))
}

fn service(bench: &Bench) -> Result<Target<'_>> {
    let runtime = &bench.runtime;
    let uploader = runtime.block_on(Uploader::connect(bench.server.grpc))?;
    let all = |contents: &[Content]| -> Result<Vec<Wanted>> {
        let ids = runtime.block_on(uploader.upload_all(contents, SMALL_AT_ONCE))?;
        let targets = runtime.block_on(uploader.sign_all(&ids))?;
        Ok(targets
            .into_iter()
            .zip(contents)
            .map(|(it, content)| Wanted::new(it, content))
            .collect())
    };
    Ok(Target {
        by: "files",
        process: &bench.server.process,
        port: bench.server.http,
        large: all(std::slice::from_ref(&bench.large))?,
        small: all(&bench.small)?,
    })
}

fn nginx(bench: &Bench, setting: Setting) -> Result<Option<Target<'_>>> {
    let wanted = |content: &Content| Ok(Wanted::new(nginx::link(content)?, content));
    let Some(port) = bench.nginx.port(setting) else {
        return Ok(None);
    };
    Ok(Some(Target {
        by: setting.name(),
        process: &bench.nginx.process,
        port,
        large: vec![wanted(&bench.large)?],
        small: bench.small.iter().map(wanted).collect::<Result<_>>()?,
    }))
}

/// Downloads each file once and compares its hash; a link that is not quite the signed one is refused.
fn check(target: &Target<'_>) -> Result<()> {
    let mut connection = Connection::open(target.port)?;
    for wanted in target.large.iter().chain(&target.small) {
        let mut sha256 = Sha256::new();
        connection.send(&wanted.request)?;
        connection.receive(|piece| sha256.update(piece))?;
        let same = sha256.finalize().as_slice() == wanted.sha256;
        ensure!(same, "{} gave another content for {}", target.by, wanted.target);
    }
    for wanted in target.large.iter().chain(target.small.first()) {
        let forged = request(&wanted.target.replace("expires=", "expires=9"));
        let status = Connection::open(target.port)?.status_of(&forged)?;
        ensure!(status == 403, "{} answered {status} to a forged link", target.by);
    }
    Ok(())
}

/// Downloads all files, so many times, with one request under way on each connection.
fn fetch(port: u16, files: &[Wanted], passes: usize, connections: usize) -> Result<()> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push((Connection::open(port)?, None::<&Wanted>));
    }
    let mut left = files.iter().cycle().take(files.len() * passes);
    loop {
        let mut busy = false;
        for (connection, under_way) in &mut open {
            if let Some(wanted) = under_way.take() {
                let received = connection.receive(|_| {})?;
                ensure!(received == wanted.size_bytes, "{} came short", wanted.target);
            }
            if let Some(wanted) = left.next() {
                connection.send(&wanted.request)?;
                *under_way = Some(wanted);
                busy = true;
            }
        }
        if !busy {
            return Ok(());
        }
    }
}
