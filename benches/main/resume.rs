//! What it costs that an upload can be gone on with, and what going on costs.

use anyhow::Result;

use crate::{
    Bench,
    case::{Amount, Case, Run},
    content::Content,
    upload::{Uploader, large_work},
};

/// All that there is of a file that starts anew, beside the last message of the large one.
const ANEW_BYTES: u64 = 1024 * 1024;

/// The large file, resumable; and its last message, beside a small file.
pub(crate) fn cases(bench: &Bench) -> Vec<Case<'_>> {
    let bytes = bench.scale.large_bytes;
    let anew = Content::large(ANEW_BYTES);
    vec![
        Case::new(large_work(bytes), "files, resumable", Amount::Bytes(bytes), || {
            measure(bench, async |uploader| uploader.upload_resumable(&bench.large).await)
        }),
        Case::new("the end of a large upload", "gone on with", Amount::Pieces(1), || go_on(bench)),
        Case::new("the end of a large upload", "a file of 1 MiB", Amount::Pieces(1), move || {
            measure(bench, async |uploader| uploader.upload_resumable(&anew).await)
        }),
    ]
}

/// The first time does not count.
fn measure(bench: &Bench, upload: impl AsyncFn(&Uploader) -> Result<String>) -> Result<Run> {
    let Bench { runtime, server, .. } = bench;
    let uploader = runtime.block_on(Uploader::connect(server.grpc))?;
    let mut id = runtime.block_on(upload(&uploader))?;
    runtime.block_on(uploader.delete_all(&[id]))?;
    id = String::new();
    let run = Run::of(Some(&server.process), || {
        id = runtime.block_on(upload(&uploader))?;
        Ok(())
    })?;
    runtime.block_on(uploader.delete_all(&[id]))?;
    Ok(run)
}

/// The last message of a large upload that was broken off before it.
fn go_on(bench: &Bench) -> Result<Run> {
    let Bench { runtime, server, .. } = bench;
    let uploader = runtime.block_on(Uploader::connect(server.grpc))?;
    let begun = runtime.block_on(uploader.begin(&bench.large))?;
    let mut id = String::new();
    let run = Run::of(Some(&server.process), || {
        id = runtime.block_on(uploader.go_on(begun, &bench.large))?;
        Ok(())
    })?;
    runtime.block_on(uploader.delete_all(&[id]))?;
    Ok(run)
}
