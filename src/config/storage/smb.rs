//! `[storage.smb]`: a share, and how it is reached.

use super::{
    super::{count, secrets::secret, span},
    Reader, StoragePlace,
};
use crate::storage::smb::{SmbEncryption, SmbOptions};

/// The table `[storage.smb]`; without a share it only completes what a URL says.
pub(super) fn details(reader: &mut Reader) -> SmbOptions {
    let mut text = |key: &str| reader.take_optional::<String>(key).unwrap_or_default();
    let (host, share) = (text("storage.smb.host"), text("storage.smb.share"));
    let (username, domain) = (text("storage.smb.username"), text("storage.smb.domain"));
    let directory = text("storage.smb.directory").trim_matches('/').to_owned();
    let port = reader.take("storage.smb.port", 445_u32);
    let port = u16::try_from(port).unwrap_or_else(|_| {
        reader.refuse("storage.smb.port", "must be at most 65535");
        445
    });
    SmbOptions {
        host,
        port,
        share,
        directory,
        username,
        domain,
        password: secret(reader, "storage.smb.password").unwrap_or_default(),
        encryption: encryption(reader),
        connections_max: count(reader, "storage.smb.connections_max", 4) as usize,
        timeout: span(reader, "storage.smb.timeout", 10),
    }
}

fn encryption(reader: &mut Reader) -> SmbEncryption {
    const KEY: &str = "storage.smb.encryption";
    match &*reader.take(KEY, "when-available".to_owned()) {
        "required" => SmbEncryption::Required,
        "when-available" => SmbEncryption::WhenAvailable,
        _ => {
            reader.refuse(KEY, "must be required or when-available");
            SmbEncryption::Required
        }
    }
}

/// The share that `smb://[USER@]HOST[:PORT]/SHARE[/DIRECTORY]` names; whatever it leaves out is as `smb` says.
pub(super) fn share(url: &str, mut smb: SmbOptions) -> Result<SmbOptions, String> {
    let wanted = "must be like smb://HOST/SHARE/DIRECTORY";
    let url = url::Url::parse(url).map_err(|error| format!("{wanted}: {error}"))?;
    if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{wanted}: the password and all else have settings of their own"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(wanted)?;
    host.trim_matches(['[', ']']).clone_into(&mut smb.host);
    smb.port = url.port().unwrap_or(smb.port);
    let decoded = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| format!("{wanted}, in UTF-8"))
    };
    if !url.username().is_empty() {
        smb.username = decoded(url.username())?;
    }
    let path = decoded(url.path().trim_matches('/'))?;
    let (share, directory) = path.split_once('/').unwrap_or((&path, ""));
    share.clone_into(&mut smb.share);
    if !directory.is_empty() {
        directory.clone_into(&mut smb.directory);
    }
    Ok(smb)
}

/// The place, if enough is known of it.
pub(super) fn place(smb: SmbOptions) -> Result<StoragePlace, String> {
    let missing = [
        ("storage.smb.host", smb.host.is_empty()),
        ("storage.smb.share", smb.share.is_empty()),
        ("storage.smb.username", smb.username.is_empty()),
    ];
    match missing.into_iter().find(|(_, missing)| *missing) {
        Some((key, _)) => Err(format!("a share wants {key}, too")),
        None => Ok(StoragePlace::Smb(smb)),
    }
}
