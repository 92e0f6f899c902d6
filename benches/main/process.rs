//! A server in a process of its own: started on its processors, watched, and stopped.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};

use crate::cpu::Cpus;

/// Longest that a server may take to accept connections.
const START_MAX: Duration = Duration::from_secs(20);
/// How long a server may take to end by itself.
const STOP_MAX: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running server; it ends with this.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` on `cpus` and returns once it accepts connections on all `ports`. What it prints
    /// goes to the file `log`.
    pub(crate) fn start(
        command: &mut Command,
        cpus: &Cpus,
        log: &Path,
        ports: &[u16],
    ) -> Result<Self> {
        let printed = File::create(log)?;
        command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed);
        let program = command.get_program().display().to_string();
        let child =
            cpus.run(|| command.spawn().with_context(|| format!("cannot start {program}")))?;
        let mut process = Self { child, log: log.to_owned() };
        for port in ports {
            process.wait_for(*port)?;
        }
        Ok(process)
    }

    fn wait_for(&mut self, port: u16) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if self.child.try_wait()?.is_some() || begun.elapsed() > START_MAX {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("a server did not start; it said:\n{said}");
            }
            sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Processor time that it and its children have taken, in seconds.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().map(str::to_owned);
        std::iter::once(pid.to_string()).chain(children).map(|pid| cpu_s(&pid)).sum()
    }

    /// From now on [`Process::peak_bytes`] counts anew.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Memory that is resident now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// Most memory that was ever resident.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Asks it to end, since nginx takes its workers along only then; does not wait for it to drain.
    fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(POLL_INTERVAL);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn status_bytes(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.with_context(|| format!("no {name} in {status}"))?.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a server was not stopped: {error}");
        }
    }
}

/// User and system time of one process: fields 14 and 15 of its `stat`, in clock ticks.
fn cpu_s(pid: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
