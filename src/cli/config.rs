//! `files config`.

use std::io::{Write, stdout};

use clap::Subcommand;

use super::settings::Settings;

/// Look at the configuration
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration and write every setting in force, with where it comes from
    ///
    /// Secrets are redacted. Mistakes are all reported at once, and the exit code is 2.
    Check(Settings),
}

impl ConfigCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::Check(settings) = self;
        let config = settings.load()?;
        let mut out = stdout().lock();
        for setting in &config.shown {
            writeln!(out, "{} = {:?}  # {}", setting.key, setting.value, setting.origin)?;
        }
        Ok(())
    }
}
