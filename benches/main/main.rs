//! Measures the service beside nginx and the machine's raw limits, in one run: `docs/benchmarks.md` says how.

mod case;
mod content;
mod cpu;
mod download;
mod http;
mod limits;
#[path = "../../tests/servers/many_rows.rs"]
mod many_rows;
mod memory;
mod nginx;
#[allow(dead_code, clippy::expect_used, clippy::panic)]
#[path = "../../tests/servers/postgres.rs"]
mod postgres_server;
mod process;
mod records;
mod resume;
#[allow(dead_code, clippy::expect_used, clippy::panic)]
#[path = "../../tests/servers/samba.rs"]
mod samba_server;
mod scale;
#[allow(dead_code, clippy::expect_used, clippy::panic)]
#[path = "../../tests/servers/seaweed.rs"]
mod seaweed;
mod server;
mod signing;
mod stores;
mod table;
mod upload;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use case::Case;
use content::Content;
use cpu::Cpus;
use memory::{MemoryCase, Target};
use nginx::Nginx;
use scale::Scale;
use server::FilesServer;

/// Measures uploads, downloads, links and memory, beside nginx and the raw limits.
#[derive(Debug, Parser)]
struct Options {
    /// Take small sizes and one round: to see that it works, not how fast
    #[arg(long)]
    quick: bool,

    /// Measure every case this many times [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// Run the servers on these processors
    #[arg(long, value_name = "LIST", default_value = "0")]
    server_cpus: Cpus,

    /// Run the client on these processors
    #[arg(long, value_name = "LIST", default_value = "1")]
    client_cpus: Cpus,

    /// Only cases whose name contains this text
    #[arg(value_name = "CASE")]
    only: Option<String>,

    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Everything that the cases work with.
struct Bench {
    scale: Scale,
    server_cpus: Cpus,
    large: Content,
    small: Vec<Content>,
    runtime: Runtime,
    server: FilesServer,
    nginx: Nginx,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let scale = Scale::new(options.quick, options.rounds);
    let place =
        tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    // Before any thread is started: they all inherit it.
    options.client_cpus.pin_this_thread()?;
    let bench = Bench::start(scale, &options, place.path())?;
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut cases = bench.cases(place.path())?;
    cases.retain(|case| wanted(&case.name()));
    let mut memory = bench.memory_cases(place.path());
    memory.retain(|case| wanted(&case.name()));
    for round in 1..=scale.rounds {
        // Who comes after whom makes a difference: every second time it is the other way around.
        let in_turn: Box<dyn Iterator<Item = &mut Case<'_>>> = if round % 2 == 1 {
            Box::new(cases.iter_mut())
        } else {
            Box::new(cases.iter_mut().rev())
        };
        for case in in_turn {
            eprintln!("round {round} of {}: {}", scale.rounds, case.name());
            case.measure().with_context(|| case.name())?;
        }
        for case in &mut memory {
            eprintln!("round {round} of {}: {}", scale.rounds, case.name());
            case.measure(&bench.runtime).with_context(|| case.name())?;
        }
    }
    table::print(&cases, &memory, &scale)?;
    let failed = memory.iter().any(MemoryCase::is_over_limit);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Bench {
    fn start(scale: Scale, options: &Options, place: &Path) -> Result<Self> {
        let large = Content::large(scale.large_bytes);
        let small: Vec<_> = (0..scale.small_files).map(Content::small).collect();
        let nginx = Nginx::start(&place.join("nginx"), &options.server_cpus, &large, &small)?;
        let server = FilesServer::start(&place.join("files"), &options.server_cpus)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            scale,
            server_cpus: options.server_cpus.clone(),
            large,
            small,
            runtime,
            server,
            nginx,
        })
    }

    /// Every case that takes time, in the order in which a round measures them.
    fn cases<'a>(&'a self, place: &Path) -> Result<Vec<Case<'a>>> {
        let mut cases = upload::cases(self);
        cases.extend(resume::cases(self));
        cases.extend(limits::disk_cases(self, place)?);
        cases.extend(download::cases(self)?);
        cases.push(limits::loopback_case(self));
        cases.extend(signing::cases(&self.scale)?);
        cases.extend(records::cases(self, place));
        cases.extend(stores::cases(self, place));
        Ok(cases)
    }

    fn memory_cases(&self, place: &Path) -> Vec<MemoryCase> {
        let many = self.scale.memory_uploads;
        [(Target::Disk, 1), (Target::Disk, many), (Target::Bucket, 1), (Target::Bucket, many)]
            .map(|uploads| MemoryCase::new(uploads, self.scale, &self.server_cpus, place))
            .into()
    }
}
