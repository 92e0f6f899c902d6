//! The digest of an upload's start: tells a retry from another upload that uses the same `upload_id`.

use sha2::{Digest, Sha256};

use crate::file::{FileSpec, Sha256Digest};

/// A SHA-256 over everything that the start says of the file; equal for equal starts alone.
pub fn start_digest(spec: &FileSpec) -> Sha256Digest {
    let mut digest = Sha256::new();
    let mut field = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    field(spec.user_id.as_str().as_bytes());
    field(spec.purpose.as_str().as_bytes());
    field(spec.name.as_str().as_bytes());
    field(&optional(spec.size_bytes.map(u128::from)));
    field(&optional(spec.ttl.map(|ttl| ttl.as_micros())));
    for (key, value) in spec.labels.as_map() {
        field(key.as_bytes());
        field(value.as_bytes());
    }
    if !spec.references.is_empty() || spec.delete_when_unreferenced {
        // No length of a field: nothing before it can be read as going on here.
        digest.update(u64::MAX.to_be_bytes());
        digest.update([u8::from(spec.delete_when_unreferenced)]);
        for reference in &spec.references {
            digest.update(reference.kind().number().to_be_bytes());
            digest.update((reference.id().len() as u64).to_be_bytes());
            digest.update(reference.id());
        }
    }
    digest.finalize().into()
}

fn optional(number: Option<u128>) -> Vec<u8> {
    number.map(|number| number.to_be_bytes().to_vec()).unwrap_or_default()
}
