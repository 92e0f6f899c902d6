//! Where bytes rest, and within which limits: `[storage]` and its sections.

mod s3;
mod smb;

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use url::Url;

use super::{count, reader::Reader, span};
use crate::storage::{
    limit::StorageLimits,
    s3::{PARTS_MAX, S3Credentials, S3Options},
    smb::SmbOptions,
};

/// Where bytes rest, and within which limits.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Where.
    pub place: StoragePlace,
    /// What is known of places beside it.
    tables: Tables,
    /// Most bytes of small blobs kept in memory.
    pub cache_bytes: u64,
    /// How much is asked of it at once, and how long it may take.
    pub limits: StorageLimits,
}

/// What the tables say of places, whichever is in use.
#[derive(Clone, Debug)]
struct Tables {
    s3: S3Options,
    smb: SmbOptions,
    /// What must fit into the parts of a bucket's largest object.
    file_bytes_max: u64,
}

impl StorageConfig {
    /// The place that a URL names, completed by what is configured; the error says what is wrong with it.
    pub fn place_at(&self, url: &str) -> Result<StoragePlace, String> {
        self.tables.place(url)
    }
}

/// Where bytes rest.
#[derive(Clone, Debug)]
pub enum StoragePlace {
    /// In a directory of a local disk; `None`: `blobs` in the data directory.
    Local(Option<PathBuf>),
    /// In a bucket.
    S3(Box<S3Options>),
    /// On a share of a file server.
    Smb(SmbOptions),
}

/// The largest file and the smallest parts must fit each other.
pub(super) fn storage(reader: &mut Reader, file_bytes_max: u64) -> StorageConfig {
    let url: Option<String> = reader.take_optional("storage.url");
    let tables = Tables { s3: s3::details(reader), smb: smb::details(reader), file_bytes_max };
    let place = match &url {
        Some(url) => tables.place(url),
        None => tables.only_place(),
    };
    let place = place.unwrap_or_else(|problem| {
        reader.refuse("storage.url", problem);
        StoragePlace::Local(None)
    });
    StorageConfig {
        place,
        tables,
        cache_bytes: reader.take("storage.cache_bytes", ByteSize::mib(64)).as_u64(),
        limits: StorageLimits {
            operations_max: count(reader, "storage.operations_max", 256) as usize,
            timeout: span(reader, "storage.timeout", 60),
            commit_timeout: span(reader, "storage.commit_timeout", 120),
        },
    }
}

/// Whether readers are sent to URLs of the storage's own, and how long those live at most.
pub(super) fn redirect(reader: &mut Reader, place: &StoragePlace) -> Option<Duration> {
    const TTL: &str = "downloads.redirect_ttl";
    let wanted = reader.take("downloads.redirect", false);
    let ttl = span(reader, TTL, 60);
    if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&ttl) {
        reader.refuse(TTL, "must be from 1s to an hour");
    }
    if wanted && !matches!(place, StoragePlace::S3(_)) {
        reader.refuse("downloads.redirect", "wants a bucket to send readers to");
    }
    wanted.then_some(ttl)
}

impl Tables {
    /// What a URL names; whatever it leaves out is as the tables say.
    fn place(&self, url: &str) -> Result<StoragePlace, String> {
        match url.split_once(':') {
            Some(("file", path)) => match path.strip_prefix("//").unwrap_or(path) {
                "" => Err("file: wants a path behind it".to_owned()),
                path => Ok(StoragePlace::Local(Some(path.into()))),
            },
            Some(("s3", _)) => self.bucket(bucket(url, self.s3.clone())?),
            Some(("smb", _)) => smb::place(smb::share(url, self.smb.clone())?),
            _ => Err("must begin with file:, s3: or smb:".to_owned()),
        }
    }

    /// The bucket, if the largest file fits its parts.
    fn bucket(&self, s3: S3Options) -> Result<StoragePlace, String> {
        match (s3.part_bytes as u64).saturating_mul(PARTS_MAX) < self.file_bytes_max {
            true => Err(format!(
                "needs storage.s3.part_bytes of at least a {PARTS_MAX}th of uploads.file_bytes_max"
            )),
            false => Ok(StoragePlace::S3(Box::new(s3))),
        }
    }

    /// The one place that the tables name, or the data directory where they name none.
    fn only_place(&self) -> Result<StoragePlace, String> {
        match (self.s3.bucket.is_empty(), self.smb.share.is_empty()) {
            (true, true) => Ok(StoragePlace::Local(None)),
            (false, true) => self.bucket(self.s3.clone()),
            (true, false) => smb::place(self.smb.clone()),
            (false, false) => Err("must say which: both a bucket and a share are set".to_owned()),
        }
    }
}

fn bucket(url: &str, mut s3: S3Options) -> Result<S3Options, String> {
    let wanted = "must be like s3://BUCKET/PREFIX";
    let url = Url::parse(url).map_err(|error| format!("{wanted}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{wanted}: credentials have settings of their own"));
    }
    if url.port().is_some() {
        return Err(format!("{wanted}: a port belongs to the endpoint"));
    }
    s3.bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(wanted)?.to_owned();
    let prefix = percent_encoding::percent_decode_str(url.path()).decode_utf8();
    let prefix = directory(&prefix.map_err(|_| format!("{wanted}, in UTF-8"))?);
    if !prefix.is_empty() {
        s3.prefix = prefix;
    }
    let mut path_style = None;
    for (name, value) in url.query_pairs() {
        match &*name {
            "region" => s3.region = value.into_owned(),
            "endpoint" => {
                let endpoint = Url::parse(&value).map_err(|error| format!("endpoint: {error}"))?;
                if !s3::is_endpoint(&endpoint) {
                    return Err(format!("endpoint {}", s3::ENDPOINT_WANTED));
                }
                s3.endpoint = Some(endpoint);
                s3.path_style = true;
            }
            "path_style" => {
                let chosen = value.parse().map_err(|_| "path_style must be true or false")?;
                path_style = Some(chosen);
            }
            "profile" if matches!(s3.credentials, S3Credentials::Static { .. }) => {
                return Err("profile goes not together with storage.s3.access_key_id".to_owned());
            }
            "profile" => s3.credentials = S3Credentials::Ambient { profile: Some(value.into()) },
            _ => {
                return Err(format!(
                    "{name} is no parameter: region, endpoint, path_style, profile"
                ));
            }
        }
    }
    s3.path_style = path_style.unwrap_or(s3.path_style);
    Ok(s3)
}

/// A prefix as names begin with it: empty, or ending in one `/`.
fn directory(path: &str) -> String {
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(file: &str) -> Result<StorageConfig, String> {
        let file = Some(("files.toml".into(), file.to_owned()));
        let config = Config::load(Sources { file, ..Sources::default() });
        config.map(|config| config.storage).map_err(|mistakes| mistakes.to_string())
    }

    fn s3(file: &str) -> S3Options {
        match load(file).expect("valid").place {
            StoragePlace::S3(options) => *options,
            other => panic!("a bucket is configured, and not {other:?}"),
        }
    }

    #[test]
    fn without_a_word_bytes_rest_in_the_data_directory() {
        let place = |file| load(file).expect("valid").place;
        assert!(matches!(place(""), StoragePlace::Local(None)));
        let elsewhere = place("[storage]\nurl = 'file:/srv/blobs'");
        assert!(matches!(elsewhere, StoragePlace::Local(Some(path)) if path == *"/srv/blobs"));
    }

    #[test]
    fn a_table_and_a_url_name_the_same_bucket() {
        let table = s3("[storage.s3]\nbucket = 'b'\nprefix = '/a/b'\nregion = 'r'\n\
                        endpoint = 'http://127.0.0.1:1'");
        let url = s3("[storage]\n\
                      url = 's3://b/a/b/?region=r&endpoint=http%3A%2F%2F127.0.0.1%3A1'");
        assert_eq!(table, url);
        assert_eq!((&*url.prefix, url.path_style), ("a/b/", true));
        let completed = s3("[storage]\nurl = 's3://b?path_style=false&endpoint=http://h'\n\
                            [storage.s3]\nprefix = 'kept'");
        assert_eq!((&*completed.prefix, completed.path_style), ("kept/", false));
        assert_eq!(s3("[storage]\nurl = 's3://b/a%20b'").prefix, "a b/");
    }

    #[test]
    fn a_share_is_named_by_table_or_url_and_its_password_apart() {
        let common = "[storage.smb]\nusername = 'u'\npassword = 'hunter2'";
        let table = format!("{common}\nhost = 'h'\nport = 1445\nshare = 's'\ndirectory = 'a/b/'");
        let url = format!("[storage]\nurl = 'smb://h:1445/s/a/b'\n{common}");
        for file in [table, url] {
            let StoragePlace::Smb(share) = load(&file).expect("valid").place else {
                panic!("a share is configured");
            };
            let named = (&*share.host, share.port, &*share.share, &*share.directory);
            assert_eq!(named, ("h", 1445, "s", "a/b"));
            assert!(!format!("{share:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_secret_key_is_never_shown() {
        let text = "[storage.s3]\nbucket = 'b'\naccess_key_id = 'id'\n\
                    secret_access_key = 'hunter2'";
        assert!(!format!("{:?}", s3(text)).contains("hunter2"));
        assert!(matches!(s3(text).credentials, S3Credentials::Static { .. }));
    }

    #[test]
    fn what_cannot_work_is_a_mistake() {
        for (wrong, named) in [
            ("[storage]\nurl = 'ftp://x'", "storage.url"),
            ("[storage]\nurl = 's3://'", "storage.url"),
            ("[storage]\nurl = 's3://user:pw@b/'", "storage.url"),
            ("[storage]\nurl = 's3://b?colour=red'", "storage.url"),
            ("[storage.s3]\naccess_key_id = 'x'", "storage.s3.access_key_id"),
            ("[storage.s3]\nencryption = 'rot13'", "storage.s3.encryption"),
            ("[storage.s3]\nkms_key_id = 'k'", "storage.s3.kms_key_id"),
            ("[storage.s3]\npart_bytes = '1 MiB'", "storage.s3.part_bytes"),
            (
                "[storage.s3]\nbucket = 'b'\n[uploads]\nfile_bytes_max = '5 TiB'",
                "storage.s3.part_bytes",
            ),
            ("[storage.s3]\nendpoint = 'ftp://x'", "storage.s3.endpoint"),
            ("[storage]\nurl = 's3://b:9000/'", "storage.url"),
            ("[storage]\nurl = 's3://b?endpoint=ftp://x'", "storage.url"),
            ("[storage.s3]\nendpoint = 'http://u:p@x'", "storage.s3.endpoint"),
            ("[storage.s3]\nsession_token = 't'", "storage.s3.access_key_id"),
            ("[downloads]\nredirect = true", "downloads.redirect"),
            ("[storage]\nurl = 'smb://h/s'", "storage.smb.username"),
            ("[storage]\nurl = 'smb://u:pw@h/s'", "storage.url"),
            ("[storage.smb]\nencryption = 'maybe'", "storage.smb.encryption"),
            ("[storage.smb]\nshare = 's'\n[storage.s3]\nbucket = 'b'", "storage.url"),
        ] {
            let mistakes = load(wrong).expect_err(wrong);
            assert!(mistakes.contains(named), "{wrong}: {mistakes}");
        }
    }
}
