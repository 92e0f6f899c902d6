//! Which processors work is done on.

use std::{collections::BTreeSet, str::FromStr, thread};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of processors, written like `0` or `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(BTreeSet<usize>);

impl FromStr for Cpus {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.parse::<usize>()?..=last.parse::<usize>()?;
            ensure!(!range.is_empty() && *range.end() < CpuSet::MAX_CPU, "no processors: {part}");
            cpus.extend(range);
        }
        Ok(Self(cpus))
    }
}

impl Cpus {
    /// Keeps the calling thread, and whatever it starts from now on, on these processors.
    pub(crate) fn pin_this_thread(&self) -> Result<()> {
        let mut set = CpuSet::new();
        self.0.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).with_context(|| {
            format!("cannot run on processors {:?}: are there that many?", self.0)
        })?;
        // Processors that do not exist are passed over in silence.
        let missing = sched_getaffinity(None)? != set;
        ensure!(!missing, "there are no processors {:?}: see --server-cpus, --client-cpus", self.0);
        Ok(())
    }

    /// Runs `work` on these processors, and whatever it starts.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let pinned = || self.pin_this_thread().and_then(|()| work());
        let ended = thread::scope(|scope| scope.spawn(pinned).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
