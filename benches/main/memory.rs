//! The server's memory while it takes uploads: how far it grows over idle.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::{
    content::Content,
    cpu::Cpus,
    scale::{Scale, spoken},
    server::FilesServer,
    upload::Uploader,
};

/// What growth has to stay under.
pub(crate) const GROWTH_BYTES_LIMIT: u64 = 64 * 1024 * 1024;
/// What a server takes to come to rest.
const SETTLE: Duration = Duration::from_millis(500);

/// Uploads at once to a fresh server, each over a connection of its own.
pub(crate) struct MemoryCase {
    uploads: usize,
    bytes: u64,
    cpus: Cpus,
    place: PathBuf,
    /// What each run came to.
    pub(crate) runs: Vec<MemoryRun>,
}

/// Memory before and during uploads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryRun {
    /// Resident before the first connection.
    pub(crate) idle_bytes: u64,
    /// How much more was resident at the peak.
    pub(crate) growth_bytes: u64,
}

impl MemoryCase {
    pub(crate) fn new(uploads: usize, scale: Scale, cpus: &Cpus, place: &Path) -> Self {
        Self {
            uploads,
            bytes: scale.memory_bytes,
            cpus: cpus.clone(),
            place: place.join("memory"),
            runs: Vec::new(),
        }
    }

    /// Its name, as it can be chosen by.
    pub(crate) fn name(&self) -> String {
        format!("memory: upload {} × {} at once", spoken(self.bytes), self.uploads)
    }

    /// Runs it once more.
    pub(crate) fn measure(&mut self, runtime: &Runtime) -> Result<()> {
        let server = FilesServer::start(&self.place, &self.cpus)?;
        sleep(SETTLE);
        server.process.reset_peak()?;
        let idle_bytes = server.process.resident_bytes()?;
        let contents = vec![Content::large(self.bytes); self.uploads];
        runtime.block_on(async {
            let uploader = Uploader::with_connections(server.grpc, self.uploads).await?;
            uploader.upload_all(&contents, self.uploads).await
        })?;
        let growth_bytes = server.process.peak_bytes()?.saturating_sub(idle_bytes);
        self.runs.push(MemoryRun { idle_bytes, growth_bytes });
        drop(server);
        Ok(fs::remove_dir_all(&self.place)?)
    }

    /// Whether any run grew too far.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.runs.iter().any(|run| run.growth_bytes >= GROWTH_BYTES_LIMIT)
    }
}
