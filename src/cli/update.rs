//! `files update`.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::{connection::Target, exit::Usage, output::Output, parse};
use crate::{
    client::{Expiry, FileChange},
    clock::{Clock, SystemClock},
};

/// Change a file's name, labels or expiry, or whether it goes with its last reference
///
/// What is not named stays as it is.
#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    change: Change,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Change {
    /// Give the file this name; its extension must stand for the type that the file has
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// A label, in place of all that the file has; can be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,

    /// Take every label off the file
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,

    #[command(flatten)]
    expiry: ExpiryFlags,

    /// Whether the file is deleted when nothing refers to it any more
    #[arg(long, value_name = "BOOL")]
    delete_when_unreferenced: Option<bool>,

    /// Change the file only while its etag is this one, which `files get --json` writes
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct ExpiryFlags {
    /// Let the file expire after this span from now, such as 12h or 30d
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<humantime::Duration>,

    /// Let the file expire at this time in UTC, such as 2026-11-22T19:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires_at: Option<SystemTime>,

    /// Keep the file until it is deleted
    #[arg(long)]
    never_expires: bool,
}

impl ExpiryFlags {
    fn seen_from(&self, now: SystemTime) -> Result<Option<Expiry>, Usage> {
        if let Some(span) = self.expires_in {
            let end = now.checked_add(Duration::from(span));
            let end = end.ok_or_else(|| Usage("--expires-in is too long".to_owned()))?;
            return Ok(Some(Expiry::At(end)));
        }
        let never = self.never_expires.then_some(Expiry::Never);
        Ok(self.expires_at.map(Expiry::At).or(never))
    }
}

impl Change {
    fn seen_from(self, now: SystemTime) -> Result<FileChange, Usage> {
        let labelled = self.no_labels || !self.labels.is_empty();
        let change = FileChange {
            filename: self.name,
            labels: labelled.then(|| self.labels.into_iter().collect()),
            expiry: self.expiry.seen_from(now)?,
            delete_when_unreferenced: self.delete_when_unreferenced,
            etag: self.etag,
        };
        match change.is_empty() {
            false => Ok(change),
            true => {
                Err(Usage("nothing to change; `files help update` lists what can be".to_owned()))
            }
        }
    }
}

impl Update {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let change = self.change.seen_from(SystemClock.now().into())?;
        let client = self.target.caller.open().await?;
        let user = &self.target.caller.user;
        let file = client.update(&self.target.file_id, user, change).await?;
        Ok(self.output.write_file(&file)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::UNIX_EPOCH};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        change: Change,
    }

    /// The change that these arguments ask for at the epoch; `None` where they are a mistake.
    fn change(arguments: &[&str]) -> Option<FileChange> {
        let line = Line::try_parse_from([&["update"], arguments].concat()).ok()?;
        line.change.seen_from(UNIX_EPOCH).ok()
    }

    #[test]
    fn nothing_to_change_is_a_mistake() {
        assert_eq!(change(&[]), None);
        assert_eq!(change(&["--etag", "1"]), None);
        assert!(change(&["--name", "b.txt"]).is_some());
    }

    #[test]
    fn labels_are_replaced_or_taken_off() {
        let labels = |arguments: &[&str]| change(arguments).and_then(|change| change.labels);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let both = BTreeMap::from([pair("a", "1"), pair("b", "2")]);
        assert_eq!(labels(&["--label", "a=1", "--label", "b=2"]), Some(both));
        assert_eq!(labels(&["--no-labels"]), Some(BTreeMap::new()));
        assert_eq!(labels(&["--name", "b.txt"]), None);
        assert_eq!(change(&["--no-labels", "--label", "a=1"]), None);
    }

    #[test]
    fn a_file_expires_in_one_way() {
        let expiry = |arguments: &[&str]| change(arguments).and_then(|change| change.expiry);
        let after = |seconds| Some(Expiry::At(UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(expiry(&["--expires-in", "2h"]), after(7200));
        assert_eq!(expiry(&["--expires-at", "1970-01-02T00:00:00Z"]), after(86_400));
        assert_eq!(expiry(&["--never-expires"]), Some(Expiry::Never));
        assert_eq!(change(&["--never-expires", "--expires-in", "2h"]), None);
        assert_eq!(change(&["--expires-at", "2h"]), None);
        assert_eq!(change(&["--expires-in", "500000000000years"]), None);
    }

    #[test]
    fn whether_a_file_goes_with_its_last_reference_is_said_in_words() {
        let goes = |word| change(&["--delete-when-unreferenced", word]);
        assert_eq!(goes("true").and_then(|it| it.delete_when_unreferenced), Some(true));
        assert_eq!(goes("false").and_then(|it| it.delete_when_unreferenced), Some(false));
        assert_eq!(goes("perhaps"), None);
    }
}
