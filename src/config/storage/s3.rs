//! `[storage.s3]`: a bucket, and how it is reached.

use bytesize::ByteSize;
use secrecy::SecretString;
use url::Url;

use super::{super::secrets::secret, Reader, directory};
use crate::storage::s3::{
    Checksums, Encryption, PART_BYTES_MAX, PART_BYTES_MIN, S3Credentials, S3Options,
};

/// What an endpoint must be.
pub(super) const ENDPOINT_WANTED: &str =
    "must be an http or https URL without user, query and fragment";

pub(super) fn is_endpoint(url: &Url) -> bool {
    let bare = url.username().is_empty() && url.password().is_none();
    bare && matches!(url.scheme(), "http" | "https")
        && url.query().is_none()
        && url.fragment().is_none()
}

/// The table `[storage.s3]`; without a bucket it only completes what a URL says.
pub(super) fn details(reader: &mut Reader) -> S3Options {
    let endpoint: Option<Url> = reader.take_optional("storage.s3.endpoint");
    let public_endpoint: Option<Url> = reader.take_optional("storage.s3.public_endpoint");
    for (key, url) in
        [("storage.s3.endpoint", &endpoint), ("storage.s3.public_endpoint", &public_endpoint)]
    {
        if url.as_ref().is_some_and(|url| !is_endpoint(url)) {
            reader.refuse(key, ENDPOINT_WANTED);
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
        (None, None) if session_token.is_none() => ambient,
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
        reader.refuse(KEY, "must be from 5 MiB to 64 MiB");
    }
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
