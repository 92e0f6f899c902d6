//! What the machine could do at best: hashing, writing durably, and sending to itself.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{
    Bench,
    case::{Amount, Case, Run},
    download,
    scale::SMALL_BYTES,
    upload,
};

const PIECE_BYTES: usize = 1024 * 1024;
/// Small writes in one measurement, each with a sync of its own.
const SMALL_WRITES: usize = 500;

/// The limits of uploads: hashing and writing what is uploaded, to the disk below `place`.
pub(crate) fn disk_cases<'a>(bench: &'a Bench, place: &Path) -> Result<Vec<Case<'a>>> {
    let bytes = bench.scale.large_bytes;
    let (large, small) = (upload::large_work(bytes), upload::small_work(bench.scale.small_files));
    let written = place.join("limit");
    let pieces = usize::try_from(bytes)? / PIECE_BYTES;
    let (all, one_by_one) = (written.clone(), written);
    Ok(vec![
        Case::new(large.clone(), "limit: SHA-256 on one core", Amount::Bytes(bytes), || {
            Run::of(None, || {
                let mut sha256 = Sha256::new();
                bench.large.pieces().for_each(|piece| sha256.update(piece));
                ensure!(sha256.finalize().as_slice() == bench.large.sha256, "another hash");
                Ok(())
            })
        }),
        Case::new(large, "limit: write, then fdatasync", Amount::Bytes(bytes), move || {
            // As before an upload, the first time does not count.
            write(&all, PIECE_BYTES, pieces, false)?;
            write(&all, PIECE_BYTES, pieces, false)
        }),
        Case::new(
            small,
            "limit: append 4 KiB, fdatasync, one at a time",
            Amount::Pieces(SMALL_WRITES),
            move || write(&one_by_one, SMALL_BYTES as usize, SMALL_WRITES, true),
        ),
    ])
}

/// Writes so many pieces to a new file and syncs it at the end, or after each; then removes it.
fn write(path: &Path, piece_bytes: usize, pieces: usize, sync_each: bool) -> Result<Run> {
    let piece = vec![b'x'; piece_bytes];
    let run = Run::of(None, || {
        let mut file = File::create(path)?;
        for _ in 0..pieces {
            file.write_all(&piece)?;
            if sync_each {
                file.sync_data()?;
            }
        }
        Ok(file.sync_data()?)
    });
    fs::remove_file(path)?;
    run
}

/// The limit of a large download: one thread on the server's processors writes, this one reads.
pub(crate) fn loopback_case(bench: &Bench) -> Case<'_> {
    let bytes = bench.scale.large_bytes;
    let work = download::large_work(bytes);
    Case::new(work, "limit: loopback TCP, 1 MiB writes", Amount::Bytes(bytes), move || {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let mut reader = TcpStream::connect(listener.local_addr()?)?;
        let (mut writer, _) = listener.accept()?;
        thread::scope(|scope| {
            let writing = scope.spawn(move || {
                bench.server_cpus.pin_this_thread()?;
                // The reader begins to count with this byte.
                writer.write_all(&[0])?;
                let piece = vec![b'x'; PIECE_BYTES];
                for _ in 0..bytes / PIECE_BYTES as u64 {
                    writer.write_all(&piece)?;
                }
                anyhow::Ok(())
            });
            reader.read_exact(&mut [0])?;
            let run = Run::of(None, || read_to_end(&mut reader, bytes));
            writing.join().ok().context("the writer panicked")??;
            run
        })
    })
}

fn read_to_end(reader: &mut TcpStream, bytes: u64) -> Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut received = 0;
    while received < bytes {
        let read = reader.read(&mut buffer)?;
        ensure!(read > 0, "the writer ended early");
        black_box(&buffer);
        received += read as u64;
    }
    Ok(())
}
