//! One row of the table: work, who does it, and how long each run of it took.

use std::time::Instant;

use anyhow::Result;

use crate::process::Process;

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    /// Bytes: the rate is in MiB/s.
    Bytes(u64),
    /// Pieces, such as files: the rate is in pieces a second.
    Pieces(usize),
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall_s: f64,
    /// The server's processor time; `None` where no server takes part.
    pub(crate) server_cpu_s: Option<f64>,
}

impl Run {
    /// Runs `work` and takes its time, and that of `server`.
    pub(crate) fn of(server: Option<&Process>, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let cpu_before_s = server.map(Process::cpu_s).transpose()?;
        let begun = Instant::now();
        work()?;
        let wall_s = begun.elapsed().as_secs_f64();
        let cpu_after_s = server.map(Process::cpu_s).transpose()?;
        let server_cpu_s = cpu_after_s.zip(cpu_before_s).map(|(after, before)| after - before);
        Ok(Self { wall_s, server_cpu_s })
    }
}

/// Work that is measured once a round.
pub(crate) struct Case<'a> {
    /// What is done.
    pub(crate) work: String,
    /// Who does it.
    pub(crate) by: &'static str,
    /// How much of it there is in one run.
    pub(crate) amount: Amount,
    /// The runs so far.
    pub(crate) runs: Vec<Run>,
    run: Box<dyn FnMut() -> Result<Run> + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        work: impl Into<String>,
        by: &'static str,
        amount: Amount,
        run: impl FnMut() -> Result<Run> + 'a,
    ) -> Self {
        Self { work: work.into(), by, amount, runs: Vec::new(), run: Box::new(run) }
    }

    /// Its name, as it can be chosen by.
    pub(crate) fn name(&self) -> String {
        format!("{}: {}", self.work, self.by)
    }

    /// Runs it once more.
    pub(crate) fn measure(&mut self) -> Result<()> {
        self.runs.push((self.run)()?);
        Ok(())
    }

    /// The rate of each run.
    pub(crate) fn rates(&self) -> Vec<f64> {
        let amount = match self.amount {
            Amount::Bytes(bytes) => bytes as f64 / (1024.0 * 1024.0),
            Amount::Pieces(pieces) => pieces as f64,
        };
        self.runs.iter().map(|run| amount / run.wall_s).collect()
    }

    /// The server's mean processor time for one run. Clock ticks are too coarse to tell runs apart.
    pub(crate) fn server_cpu_s(&self) -> Option<f64> {
        let total: Option<f64> = self.runs.iter().map(|run| run.server_cpu_s).sum();
        total.map(|total| total / self.runs.len() as f64)
    }
}
