//! `files migrate`.

use clap::Args;

use super::settings::DataSettings;
use crate::server::upkeep;

/// Bring the database's schema up to date, apart from a server's start
///
/// Any number of them may run at once, beside servers, too. A database that a newer version has changed is
/// refused.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: DataSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        upkeep::migrate(&self.settings.load()?).await?;
        eprintln!("the schema is up to date");
        Ok(())
    }
}
