//! The `files` binary: parse, run the command, exit code.

use std::process::ExitCode;

use clap::Parser;
use files::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
