//! `files completions` and `files man`: made from the commands themselves.

use std::io::{Write, stdout};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Write a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        clap_complete::generate(self.shell, &mut Cli::command(), "files", &mut stdout());
        Ok(())
    }
}

/// Write the manual page, with every command
#[derive(Debug, Args)]
pub(super) struct Man;

impl Man {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut command = Cli::command();
        command.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        render_subcommands(&command, &mut page)?;
        Ok(stdout().write_all(&page)?)
    }
}

fn render_subcommands(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help") {
        let man = clap_mangen::Man::new(subcommand.clone());
        man.render_name_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        render_subcommands(subcommand, page)?;
    }
    Ok(())
}
