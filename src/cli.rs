//! The command line: one file a command. Standard output holds results alone, for people on a terminal and
//! as JSON elsewhere; everything else goes to standard error.

mod attach;
mod backup;
mod complete;
mod config;
mod connection;
mod delete;
mod delete_reference;
mod detach;
mod download;
mod exit;
mod filter;
mod fsck;
mod get;
mod list;
mod migrate;
mod migrate_storage;
mod output;
mod parse;
mod progress;
mod reference;
mod revoke;
mod serve;
mod settings;
mod storage;
mod sweep;
mod types;
mod undelete;
mod update;
mod upload;
mod upload_url;
mod url;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// The file service for AI-assistant platforms.
///
/// Exit codes: 0 success; 1 a failure of this program or the server; 2 a mistake in the command line or the
/// configuration; 3 no such file; 4 refused by the server; 5 the server cannot be reached or is busy: try
/// again; 6 a check, a sweep or a backup left something undone.
#[derive(Debug, Parser)]
#[command(name = "files", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Upload(upload::Upload),
    UploadUrl(upload_url::UploadUrl),
    Url(url::SignUrl),
    Revoke(revoke::Revoke),
    Get(get::Get),
    List(list::List),
    Download(download::Download),
    Update(update::Update),
    Delete(delete::Delete),
    Undelete(undelete::Undelete),
    Attach(attach::Attach),
    Detach(detach::Detach),
    DeleteReference(delete_reference::DeleteReference),
    Usage(usage::GetUsage),
    Types(types::Types),
    Migrate(migrate::Migrate),
    MigrateStorage(migrate_storage::MigrateStorage),
    Sweep(sweep::Sweep),
    Fsck(fsck::Check),
    Backup(backup::Backup),
    Restore(backup::Restore),
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(complete::Completions),
    Man(complete::Man),
}

impl Cli {
    /// Runs the command and tells how it went.
    pub fn run(self) -> ExitCode {
        let outcome = runtime().and_then(|runtime| {
            let outcome = runtime.block_on(self.command.run());
            // A thread that waits for input, or for a disk that hangs, is not waited for.
            runtime.shutdown_background();
            outcome
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => exit::report(&error),
        }
    }
}

impl Command {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Upload(command) => command.run().await,
            Self::UploadUrl(command) => command.run().await,
            Self::Url(command) => command.run().await,
            Self::Revoke(command) => command.run().await,
            Self::Get(command) => command.run().await,
            Self::List(command) => command.run().await,
            Self::Download(command) => command.run().await,
            Self::Update(command) => command.run().await,
            Self::Delete(command) => command.run().await,
            Self::Undelete(command) => command.run().await,
            Self::Attach(command) => command.run().await,
            Self::Detach(command) => command.run().await,
            Self::DeleteReference(command) => command.run().await,
            Self::Usage(command) => command.run().await,
            Self::Types(command) => command.run().await,
            Self::Migrate(command) => command.run().await,
            Self::MigrateStorage(command) => command.run().await,
            Self::Sweep(command) => command.run().await,
            Self::Fsck(command) => command.run().await,
            Self::Backup(command) => command.run().await,
            Self::Restore(command) => command.run().await,
            Self::Storage(command) => command.run().await,
            Self::Config(command) => command.run(),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}

/// Threads for what may block: hashing keeps a core busy and a disk serves few at once, while each thread
/// keeps memory of its own.
const BLOCKING_THREADS_MAX: usize = 16;

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?)
}
