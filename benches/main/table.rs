//! The outcome as Markdown on standard output.

use std::io::{Write, stdout};

use anyhow::Result;

use crate::{
    case::{Amount, Case},
    memory::MemoryCase,
    scale::Scale,
};

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// Prints both tables.
pub(crate) fn print(cases: &[Case<'_>], memory: &[MemoryCase], scale: &Scale) -> Result<()> {
    let mut out = stdout().lock();
    if scale.quick {
        writeln!(out, "A quick run: it shows that everything works, not how fast it is.\n")?;
    }
    if !cases.is_empty() {
        writeln!(out, "| work | by | median | least | most | server CPU | `files` ÷ this |")?;
        writeln!(out, "|---|---|--:|--:|--:|--:|--:|")?;
    }
    let mut works: Vec<&str> = Vec::new();
    for case in cases {
        if !works.contains(&case.work.as_str()) {
            works.push(&case.work);
        }
    }
    for work in works {
        let rows = || cases.iter().filter(|case| case.work == work);
        let ours = rows().find(|case| case.by == "files");
        for case in rows() {
            writeln!(out, "{}", row(case, ours))?;
        }
    }
    if !memory.is_empty() {
        writeln!(out, "\n| work | idle | growth, median | least | most | must stay under |")?;
        writeln!(out, "|---|--:|--:|--:|--:|--:|")?;
        memory.iter().try_for_each(|case| writeln!(out, "{}", memory_row(case)))?;
    }
    Ok(())
}

fn row(case: &Case<'_>, ours: Option<&Case<'_>>) -> String {
    let spread = Spread::of(case.rates());
    let rate = |rate: f64| match case.amount {
        Amount::Bytes(_) => format!("{} MiB/s", grouped(rate)),
        Amount::Pieces(_) => format!("{} /s", grouped(rate)),
    };
    let cpu = case.server_cpu_s().map(|cpu_s| match case.amount {
        Amount::Bytes(bytes) => format!("{:.2} s/GiB", cpu_s * GIB / bytes as f64),
        Amount::Pieces(pieces) => format!("{:.1} µs each", cpu_s * 1e6 / pieces as f64),
    });
    let ratio = ours.filter(|ours| ours.by != case.by).map(|ours| {
        let pairs = ours.rates().into_iter().zip(case.rates());
        format!("{:.2}", Spread::of(pairs.map(|(ours, theirs)| ours / theirs).collect()).median)
    });
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |",
        case.work,
        case.by,
        rate(spread.median),
        rate(spread.least),
        rate(spread.most),
        cpu.unwrap_or_default(),
        ratio.unwrap_or_default()
    )
}

fn memory_row(case: &MemoryCase) -> String {
    let idle = Spread::of(case.runs.iter().map(|run| run.idle_bytes as f64).collect());
    let growth = Spread::of(case.runs.iter().map(|run| run.growth_bytes as f64).collect());
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        case.name(),
        mib(idle.median),
        mib(growth.median),
        mib(growth.least),
        mib(growth.most),
        mib(case.limit_bytes() as f64)
    )
}

/// What several runs came to.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / MIB)
}

/// A whole number with its thousands apart: `12,345`.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
