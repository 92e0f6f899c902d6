//! What a column holds as JSON: labels and references.

use std::{collections::BTreeMap, error::Error};

use crate::file::{
    labels::Labels,
    reference::{Reference, ReferenceKind, References},
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Labels as an object.
pub(super) fn labels_text(labels: &Labels) -> serde_json::Result<String> {
    serde_json::to_string(labels.as_map())
}

/// Labels from an object.
pub(super) fn parse_labels(text: &str) -> Result<Labels> {
    if text == "{}" {
        return Ok(Labels::default());
    }
    let labels: BTreeMap<String, String> = serde_json::from_str(text)?;
    Ok(Labels::stored(labels))
}

/// References from an array of pairs of kind and id.
pub(super) fn parse_references(text: &str) -> Result<References> {
    if text == "[]" {
        return Ok(References::new());
    }
    let pairs: Vec<(i64, String)> = serde_json::from_str(text)?;
    let reference = |(kind, id)| {
        let kind = ReferenceKind::of_number(kind).ok_or("unknown kind of reference")?;
        Ok(Reference::stored(kind, id))
    };
    pairs.into_iter().map(reference).collect()
}
