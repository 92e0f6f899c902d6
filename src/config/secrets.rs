//! Secrets: given as they are, or in a file of their own.

use std::path::PathBuf;

use secrecy::SecretString;

use super::reader::Reader;

/// The secret `key`, or what the file holds that `key` with `_file` behind it names. Both is a mistake.
pub(super) fn secret(reader: &mut Reader, key: &str) -> Option<SecretString> {
    let file_key = format!("{key}_file");
    match (reader.take_secret(key), secret_file(reader, &file_key)) {
        (Some(_), Some(_)) => {
            reader.refuse(&file_key, format!("cannot be set together with {key}"));
            None
        }
        (inline, from_file) => inline.or(from_file),
    }
}

fn secret_file(reader: &mut Reader, key: &str) -> Option<SecretString> {
    let path: PathBuf = reader.take_optional(key)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().to_owned().into()),
        Err(error) => {
            reader.refuse(key, format!("cannot read {}: {error}", path.display()));
            None
        }
    }
}
