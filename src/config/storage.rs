//! Where bytes rest, and within which limits: `[storage]` and its sections.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::SecretString;
use url::Url;

use super::{count, reader::Reader, secrets::secret, span};
use crate::storage::{
    limit::StorageLimits,
    s3::{
        Checksums, Encryption, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, S3Credentials, S3Options,
    },
};

/// Where bytes rest, and within which limits.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Where.
    pub place: StoragePlace,
    /// Most bytes of small blobs kept in memory.
    pub cache_bytes: u64,
    /// How much is asked of it at once, and how long it may take.
    pub limits: StorageLimits,
}

/// Where bytes rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoragePlace {
    /// In a directory of a local disk; `None`: `blobs` in the data directory.
    Local(Option<PathBuf>),
    /// In a bucket.
    S3(Box<S3Options>),
}

/// The largest file and the smallest parts must fit each other.
pub(super) fn storage(reader: &mut Reader, file_bytes_max: u64) -> StorageConfig {
    let url: Option<String> = reader.take_optional("storage.url");
    let details = s3_details(reader);
    let place = match &url {
        None if details.bucket.is_empty() => Ok(StoragePlace::Local(None)),
        None => Ok(StoragePlace::S3(Box::new(details))),
        Some(url) => place(url, details),
    };
    let place = place.unwrap_or_else(|problem| {
        reader.refuse("storage.url", problem);
        StoragePlace::Local(None)
    });
    if let StoragePlace::S3(options) = &place
        && (options.part_bytes as u64).saturating_mul(PARTS_MAX) < file_bytes_max
    {
        let problem = format!("must be at least a {PARTS_MAX}th of uploads.file_bytes_max");
        reader.refuse("storage.s3.part_bytes", problem);
    }
    StorageConfig {
        place,
        cache_bytes: reader.take("storage.cache_bytes", ByteSize::mib(64)).as_u64(),
        limits: StorageLimits {
            operations_max: count(reader, "storage.operations_max", 256) as usize,
            timeout: span(reader, "storage.timeout", 30),
            commit_timeout: span(reader, "storage.commit_timeout", 120),
        },
    }
}

/// Whether readers are sent to URLs of the storage's own, and how long those live at most.
pub(super) fn redirect(reader: &mut Reader) -> Option<Duration> {
    const TTL: &str = "downloads.redirect_ttl";
    let wanted = reader.take("downloads.redirect", false);
    let ttl = span(reader, TTL, 60);
    if ttl > Duration::from_secs(3600) {
        reader.refuse(TTL, "must be at most an hour");
    }
    wanted.then_some(ttl)
}

/// What a URL names; whatever it leaves out is as `s3` says.
fn place(url: &str, s3: S3Options) -> Result<StoragePlace, String> {
    match url.split_once(':') {
        Some(("file", path)) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            match path {
                "" => Err("file: wants a path behind it".to_owned()),
                path => Ok(StoragePlace::Local(Some(path.into()))),
            }
        }
        Some(("s3", _)) => Ok(StoragePlace::S3(Box::new(bucket(url, s3)?))),
        _ => Err("must begin with file: or s3:".to_owned()),
    }
}

fn bucket(url: &str, mut s3: S3Options) -> Result<S3Options, String> {
    let wanted = "must be like s3://BUCKET/PREFIX";
    let url = Url::parse(url).map_err(|error| format!("{wanted}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{wanted}: credentials have settings of their own"));
    }
    s3.bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(wanted)?.to_owned();
    s3.prefix = directory(url.path());
    for (name, value) in url.query_pairs() {
        match &*name {
            "region" => s3.region = value.into_owned(),
            "endpoint" => {
                let endpoint = Url::parse(&value);
                s3.endpoint = Some(endpoint.map_err(|error| format!("endpoint: {error}"))?);
                s3.path_style = true;
            }
            "path_style" => {
                s3.path_style = value.parse().map_err(|_| "path_style: must be true or false")?;
            }
            "profile" => s3.credentials = S3Credentials::Ambient { profile: Some(value.into()) },
            _ => {
                return Err(format!(
                    "{name} is no parameter: region, endpoint, path_style, profile"
                ));
            }
        }
    }
    Ok(s3)
}

/// A prefix as names begin with it: empty, or ending in one `/`.
fn directory(path: &str) -> String {
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    }
}

fn s3_details(reader: &mut Reader) -> S3Options {
    let endpoint: Option<Url> = reader.take_optional("storage.s3.endpoint");
    let public_endpoint: Option<Url> = reader.take_optional("storage.s3.public_endpoint");
    for (key, url) in
        [("storage.s3.endpoint", &endpoint), ("storage.s3.public_endpoint", &public_endpoint)]
    {
        if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https")) {
            reader.refuse(key, "must be an http or https URL");
        }
    }
    let bucket: Option<String> = reader.take_optional("storage.s3.bucket");
    let prefix: Option<String> = reader.take_optional("storage.s3.prefix");
    S3Options {
        bucket: bucket.unwrap_or_default(),
        prefix: directory(&prefix.unwrap_or_default()),
        region: reader.take("storage.s3.region", "us-east-1".to_owned()),
        path_style: reader.take("storage.s3.path_style", endpoint.is_some()),
        endpoint,
        public_endpoint,
        credentials: credentials(reader),
        encryption: encryption(reader),
        storage_class: reader.take_optional("storage.s3.storage_class"),
        checksums: checksums(reader),
        part_bytes: part_bytes(reader),
        ca_file: reader.take_optional("storage.s3.ca_file"),
    }
}

fn credentials(reader: &mut Reader) -> S3Credentials {
    let access_key_id: Option<String> = reader.take_optional("storage.s3.access_key_id");
    let secret_access_key = secret(reader, "storage.s3.secret_access_key");
    let session_token = secret(reader, "storage.s3.session_token");
    let profile: Option<String> = reader.take_optional("storage.s3.profile");
    let ambient = S3Credentials::Ambient { profile: profile.clone() };
    let mut refuse = |problem| {
        reader.refuse("storage.s3.access_key_id", problem);
        ambient.clone()
    };
    let keys: (Option<String>, Option<SecretString>) = (access_key_id, secret_access_key);
    match keys {
        (None, None) => ambient,
        (Some(_), Some(_)) if profile.is_some() => {
            refuse("cannot be set together with storage.s3.profile")
        }
        (Some(access_key_id), Some(secret_access_key)) => {
            S3Credentials::Static { access_key_id, secret_access_key, session_token }
        }
        _ => refuse("goes together with storage.s3.secret_access_key"),
    }
}

fn encryption(reader: &mut Reader) -> Option<Encryption> {
    let method: Option<String> = reader.take_optional("storage.s3.encryption");
    let key_id: Option<String> = reader.take_optional("storage.s3.kms_key_id");
    match method.as_deref() {
        Some("aws:kms") => return Some(Encryption::Kms { key_id }),
        _ if key_id.is_some() => {
            reader.refuse("storage.s3.kms_key_id", "goes with storage.s3.encryption aws:kms");
        }
        Some("AES256") => return Some(Encryption::Aes256),
        Some(_) => reader.refuse("storage.s3.encryption", "must be AES256 or aws:kms"),
        None => {}
    }
    None
}

fn checksums(reader: &mut Reader) -> Checksums {
    match &*reader.take("storage.s3.checksums", "crc32".to_owned()) {
        "crc32" => Checksums::Crc32,
        "signed" => Checksums::Signed,
        _ => {
            reader.refuse("storage.s3.checksums", "must be crc32 or signed");
            Checksums::Crc32
        }
    }
}

fn part_bytes(reader: &mut Reader) -> usize {
    const KEY: &str = "storage.s3.part_bytes";
    let bytes = reader.take(KEY, ByteSize::mib(8)).as_u64();
    if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&bytes) {
        reader.refuse(KEY, "must be from 5 MiB to 512 MiB");
    }
    usize::try_from(bytes).unwrap_or(usize::MAX)
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
            StoragePlace::Local(_) => panic!("a bucket is configured"),
        }
    }

    #[test]
    fn without_a_word_bytes_rest_in_the_data_directory() {
        assert_eq!(load("").expect("valid").place, StoragePlace::Local(None));
        let elsewhere = load("[storage]\nurl = 'file:/srv/blobs'").expect("valid").place;
        assert_eq!(elsewhere, StoragePlace::Local(Some("/srv/blobs".into())));
    }

    #[test]
    fn a_table_and_a_url_name_the_same_bucket() {
        let table = s3("[storage.s3]\nbucket = 'b'\nprefix = '/a/b'\nregion = 'r'\n\
                        endpoint = 'http://127.0.0.1:1'");
        let url = s3("[storage]\n\
                      url = 's3://b/a/b/?region=r&endpoint=http%3A%2F%2F127.0.0.1%3A1'");
        assert_eq!(table, url);
        assert_eq!((&*url.prefix, url.path_style), ("a/b/", true));
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
        ] {
            let mistakes = load(wrong).expect_err(wrong);
            assert!(mistakes.contains(named), "{wrong}: {mistakes}");
        }
    }
}
