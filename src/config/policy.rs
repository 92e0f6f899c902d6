//! What is accepted, for how long, and how much of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytesize::ByteSize;

use super::{bytes, count, reader::Reader, seconds, span};
use crate::{
    file::{
        media_type::{FileTypes, MediaType},
        purpose::{PurposePolicy, Purposes},
        usage::Quota,
    },
    service::policy::{Grace, Policy, Quotas, UploadLimits},
    signing::TTL_MAX,
};

/// How long deleted files can be undeleted where nothing else is configured: a week.
const GRACE_DEFAULT_S: u64 = 7 * 24 * 3600;

pub(super) fn policy(reader: &mut Reader) -> Policy {
    let link_ttl_default = seconds(reader, "links.ttl_default", 600);
    if !(Duration::from_secs(1)..=TTL_MAX).contains(&link_ttl_default) {
        reader.refuse("links.ttl_default", "must be from 1 s to 7 days");
    }
    let purposes = purposes(reader);
    let own_grace = |(name, policy): (&str, &PurposePolicy)| Some((name.to_owned(), policy.grace?));
    let grace = Grace {
        default: seconds(reader, "deletion.grace", GRACE_DEFAULT_S),
        by_purpose: purposes.iter().filter_map(own_grace).collect(),
    };
    Policy {
        types: file_types(reader),
        purposes,
        file_bytes_max: reader.take("uploads.file_bytes_max", ByteSize::gib(5)).as_u64(),
        link_ttl_default,
        grace: Arc::new(grace),
        quotas: quotas(reader),
        uploads: UploadLimits {
            concurrent_max: count(reader, "uploads.concurrent_max", 1024) as usize,
            buffer_bytes_max: bytes(reader, "uploads.buffer_bytes_max", ByteSize::mib(8)),
            idle_max: span(reader, "uploads.idle_timeout", 60),
            checkpoint_bytes: bytes(reader, "uploads.checkpoint_bytes", ByteSize::mib(256)) as u64,
            unfinished_max: span(reader, "uploads.unfinished_max_age", 24 * 60 * 60),
        },
    }
}

/// `[types]`: more extensions, each with its MIME type.
fn file_types(reader: &mut Reader) -> FileTypes {
    let mut extra = BTreeMap::new();
    for (extension, text) in reader.take_section("types") {
        let key = format!("types.{extension}");
        let extension = extension.trim_start_matches('.').to_lowercase();
        match MediaType::parse(&text) {
            Some(media_type) if !extension.is_empty() && !extension.contains('.') => {
                extra.insert(extension, media_type);
            }
            _ => reader.refuse(&key, "must be an extension with its MIME type"),
        }
    }
    FileTypes::extended(extra)
}

/// `[purposes.NAME]`: where there is any, these replace the built-in ones.
fn purposes(reader: &mut Reader) -> Purposes {
    let names = reader.subsections("purposes");
    if names.is_empty() {
        return Purposes::default();
    }
    let mut policies = BTreeMap::new();
    for name in names {
        let own: Option<ByteSize> =
            reader.take_optional(&format!("purposes.{name}.file_bytes_max"));
        let policy = PurposePolicy {
            mime_types: mime_types(reader, &format!("purposes.{name}.mime_types")),
            file_bytes_max: own.map(|bytes| bytes.as_u64()),
            default_ttl: optional_span(reader, &format!("purposes.{name}.default_ttl")),
            grace: optional_seconds(reader, &format!("purposes.{name}.grace")),
        };
        policies.insert(name, policy);
    }
    Purposes::new(policies)
}

/// MIME types, each spelled out and in lower case.
fn mime_types(reader: &mut Reader, key: &str) -> Vec<String> {
    let mut types = Vec::new();
    for text in reader.take_list::<String>(key) {
        match MediaType::parse(&text) {
            Some(media_type) => types.push(media_type.as_str().to_owned()),
            None => reader.refuse(key, format!("{text} is not a MIME type such as image/png")),
        }
    }
    types
}

/// `[quotas]` for every user, and `[quotas.users.NAME]` in its place for one.
fn quotas(reader: &mut Reader) -> Quotas {
    let names = reader.subsections("quotas.users");
    let own = |name: &String| (name.clone(), quota(reader, &format!("quotas.users.{name}")));
    let by_user = names.iter().map(own).collect();
    Quotas { default: quota(reader, "quotas"), by_user }
}

fn quota(reader: &mut Reader, section: &str) -> Quota {
    let count: Option<u64> = reader.take_optional(&format!("{section}.file_count_max"));
    let bytes: Option<ByteSize> = reader.take_optional(&format!("{section}.stored_bytes_max"));
    // 0 is no limit, as in what GetUsage answers.
    Quota {
        file_count_max: count.filter(|most| *most > 0),
        stored_bytes_max: bytes.map(|bytes| bytes.as_u64()).filter(|most| *most > 0),
    }
}

fn optional_span(reader: &mut Reader, key: &str) -> Option<Duration> {
    let span = optional_seconds(reader, key)?;
    if span.is_zero() {
        reader.refuse(key, "must be above 0");
    }
    Some(span)
}

fn optional_seconds(reader: &mut Reader, key: &str) -> Option<Duration> {
    let span: humantime::Duration = reader.take_optional(key)?;
    if *span > super::SPAN_MAX {
        reader.refuse(key, "must be at most a year");
    }
    Some(*span)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;
    use crate::file::user::UserId;

    fn load(file: &str) -> Config {
        let file = Some(("files.toml".into(), file.to_owned()));
        Config::load(Sources { file, ..Sources::default() }).expect("valid")
    }

    #[test]
    fn a_users_own_quota_replaces_everybodys() {
        let policy = load(
            "[quotas]\nstored_bytes_max = '1 GiB'\nfile_count_max = 10\n\
             [quotas.users.'a.b@example']\nfile_count_max = 20\nstored_bytes_max = '0 B'",
        )
        .policy;
        let of = |user: &str| policy.quotas.of(&UserId::parse(user).expect("a user id"));
        let everybody = Quota { file_count_max: Some(10), stored_bytes_max: Some(1 << 30) };
        assert_eq!(of("anybody"), everybody);
        let own = Quota { file_count_max: Some(20), stored_bytes_max: None };
        assert_eq!(of("a.b@example"), own);
    }

    #[test]
    fn a_purposes_types_are_spelled_out() {
        let policy = load("[purposes.vision]\nmime_types = ['Image/PNG', 'image/gif']").policy;
        let (_, vision) = policy.purposes.parse("vision").expect("configured");
        assert_eq!(vision.mime_types, ["image/png", "image/gif"]);
        for wrong in ["image/*", "png", ""] {
            let text = format!("[purposes.vision]\nmime_types = ['{wrong}']");
            let file = Some(("files.toml".into(), text));
            let refused = Config::load(Sources { file, ..Sources::default() });
            assert!(refused.is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_purposes_own_grace_and_ttl_are_kept() {
        let policy = load(
            "[deletion]\ngrace = '1h'\n[purposes.notes]\n\
             [purposes.batch]\ngrace = '0s'\ndefault_ttl = '30d'",
        )
        .policy;
        let (batch, own) = policy.purposes.parse("batch").expect("configured");
        assert_eq!(own.default_ttl, Some(Duration::from_secs(30 * 24 * 3600)));
        assert!(policy.grace.of(&batch).is_zero());
        let (notes, own) = policy.purposes.parse("notes").expect("configured");
        assert_eq!(own.default_ttl, None);
        assert_eq!(policy.grace.of(&notes), Duration::from_secs(3600));
    }
}
