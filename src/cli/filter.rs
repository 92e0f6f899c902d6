//! Which files a listing holds.

use std::time::SystemTime;

use bytes::Bytes;
use clap::Args;

use super::{
    parse::{self, PastTime},
    reference,
};
use crate::proto::{FileFilter, Reference};

/// What listed files must meet, all of it.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// List files for this purpose; given more than once: for any of them
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,

    /// List files of this MIME type, such as text/csv or image/*; given more than once: of any of them
    #[arg(long = "type", value_name = "MIME")]
    mime_types: Vec<String>,

    /// List files with this in their names, whatever the case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name_contains: String,

    /// List files that belong to this, such as thread:t-42; see `files help attach`
    #[arg(long, value_name = "KIND:ID", value_parser = reference::parse)]
    reference: Option<Reference>,

    /// List files with exactly the content that has this SHA-256
    #[arg(long, value_name = "HEX", value_parser = parse::sha256)]
    sha256: Option<Bytes>,

    /// List files with this label; given more than once: with all of them
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,

    /// List files created at this time or later, such as 2026-11-22T19:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME")]
    created_from: Option<PastTime>,

    /// List files created before this time, written the same way
    #[arg(long, value_name = "TIME")]
    created_to: Option<PastTime>,
}

impl Filter {
    /// As the contract has it; `None` where nothing is asked.
    pub(super) fn seen_from(self, now: SystemTime) -> Option<FileFilter> {
        let time = |past: PastTime| past.seen_from(now).into();
        let filter = FileFilter {
            purposes: self.purposes,
            mime_types: self.mime_types,
            filename_contains: self.name_contains,
            reference: self.reference,
            sha256: self.sha256.unwrap_or_default(),
            labels: self.labels.into_iter().collect(),
            create_time_from: self.created_from.map(time),
            create_time_to: self.created_to.map(time),
        };
        (filter != FileFilter::default()).then_some(filter)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(arguments: &[&str]) -> Option<FileFilter> {
        let line = Line::try_parse_from([&["list"], arguments].concat()).expect("a filter");
        line.filter.seen_from(UNIX_EPOCH + Duration::from_secs(10_000))
    }

    #[test]
    fn without_options_nothing_is_filtered() {
        assert_eq!(filter(&[]), None);
    }

    #[test]
    fn every_option_narrows() {
        let hash = "0f".repeat(32);
        let arguments = [
            ["--purpose", "vision"],
            ["--purpose", "batch"],
            ["--type", "image/*"],
            ["--name-contains", "Plot"],
            ["--reference", "run:r:1"],
            ["--sha256", &hash],
            ["--label", "a=1"],
            ["--label", "b=2"],
            ["--created-from", "1970-01-01T01:00:00Z"],
            ["--created-to", "1s"],
        ]
        .concat();
        let found = filter(&arguments).expect("a filter");
        assert_eq!(found.purposes, ["vision", "batch"]);
        assert_eq!(found.mime_types, ["image/*"]);
        assert_eq!(found.filename_contains, "Plot");
        assert_eq!(found.reference, reference::parse("run:r:1").ok());
        assert_eq!(found.sha256, vec![0x0f; 32]);
        assert_eq!(found.labels.len(), 2);
        assert_eq!(found.create_time_from.map(|time| time.seconds), Some(3600));
        assert_eq!(found.create_time_to.map(|time| time.seconds), Some(9999));
    }
}
