//! Progress bars, on a terminal only.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str =
    "{msg:24!} {bar:30} {bytes:>11} of {total_bytes:<11} {bytes_per_sec:>13} {eta:>4}";
const COUNT_TEMPLATE: &str = "{msg:24!} {bar:30} {human_pos:>11} of {human_len:<11} {eta:>4}";

/// A bar for `size_bytes`, which shows itself only where standard error is a terminal.
pub(super) fn bar(name: &str, size_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(size_bytes), target());
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name.to_owned())
}

/// A bar for `count` things.
pub(super) fn count(name: &str, count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), target());
    let style = ProgressStyle::with_template(COUNT_TEMPLATE);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name.to_owned())
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}
