//! The service itself: the binary as it is shipped, with its default settings.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    cpu::Cpus,
    process::{Process, free_port},
};

/// A running `files serve`.
pub(crate) struct FilesServer {
    /// Its process.
    pub(crate) process: Process,
    /// The port of the gRPC service.
    pub(crate) grpc: u16,
    /// The port of the HTTP sidecar.
    pub(crate) http: u16,
}

impl FilesServer {
    /// Starts one on `cpus` with everything below `place`.
    pub(crate) fn start(place: &Path, cpus: &Cpus) -> Result<Self> {
        Self::start_with(place, cpus, &[])
    }

    /// The same with settings in its environment.
    pub(crate) fn start_with(
        place: &Path,
        cpus: &Cpus,
        settings: &[(&str, String)],
    ) -> Result<Self> {
        std::fs::create_dir_all(place)?;
        let (grpc, http) = (free_port()?, free_port()?);
        let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
        command
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .arg("serve")
            .arg("--data")
            .arg(place.join("data"))
            .args(["--grpc", &format!("127.0.0.1:{grpc}")])
            .args(["--http", &format!("127.0.0.1:{http}")]);
        let process = Process::start(&mut command, cpus, &place.join("log"), &[grpc, http])?;
        Ok(Self { process, grpc, http })
    }
}
