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
    scale::{MIB, Scale, spoken},
    server::FilesServer,
    stores,
    upload::Uploader,
};

/// What a server takes to come to rest.
const SETTLE: Duration = Duration::from_millis(500);

/// Where the server puts what is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Disk,
    Bucket,
}

/// Uploads at once to a fresh server, each over a connection of its own.
pub(crate) struct MemoryCase {
    target: Target,
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
    pub(crate) fn new(
        (target, uploads): (Target, usize),
        scale: Scale,
        cpus: &Cpus,
        place: &Path,
    ) -> Self {
        Self {
            target,
            uploads,
            bytes: scale.memory_bytes,
            cpus: cpus.clone(),
            place: place.join("memory"),
            runs: Vec::new(),
        }
    }

    /// Its name, as it can be chosen by.
    pub(crate) fn name(&self) -> String {
        let target = match self.target {
            Target::Disk => "",
            Target::Bucket => " to a bucket",
        };
        format!("memory: upload {} × {} at once{target}", spoken(self.bytes), self.uploads)
    }

    /// What growth has to stay under: for a bucket what all uploads share (`uploads.buffer_bytes_max`), and two
    /// parts and 1 MiB for each.
    pub(crate) const fn limit_bytes(&self) -> u64 {
        match self.target {
            Target::Disk => 64 * MIB,
            Target::Bucket => 8 * MIB + (2 * 8 + 1) * MIB * self.uploads as u64,
        }
    }

    /// Runs it once more.
    pub(crate) fn measure(&mut self, runtime: &Runtime) -> Result<()> {
        let settings = match self.target {
            Target::Disk => Vec::new(),
            Target::Bucket => {
                stores::bucket(&format!("memory-{}-{}", self.uploads, self.runs.len()))?
            }
        };
        let server = FilesServer::start_with(&self.place, &self.cpus, &settings)?;
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
        self.runs.iter().any(|run| run.growth_bytes >= self.limit_bytes())
    }
}
