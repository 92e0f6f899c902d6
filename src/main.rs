//! The `files` binary: parse, run the command, exit code.

use std::process::ExitCode;

use clap::Parser;
use files::cli::Cli;
use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` among the allocator's options.
const PURGE_DELAY: mi_option_t = 15;
/// How long freed memory is kept before the system gets it back, in milliseconds: at the allocator's own
/// second, the buffers of many uploads pile up.
const PURGE_DELAY_MS: std::ffi::c_long = 10;

fn main() -> ExitCode {
    return_memory_soon();
    Cli::parse().run()
}

#[allow(unsafe_code)]
fn return_memory_soon() {
    // SAFETY: this sets a number in the allocator's own table of options, and no other thread runs yet.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}
