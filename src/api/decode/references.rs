//! References, and the files tied to one.

use super::{Result, owner};
use crate::{
    error::FieldError,
    file::reference::{REFERENCES_IN_CALL_MAX, Reference, ReferenceKind, References},
    proto,
    service::metadata::Association,
};

/// The one reference that a call is about.
pub(crate) fn reference_of(
    field: &'static str,
    reference: Option<&proto::Reference>,
) -> Result<Reference> {
    let reference = reference.ok_or_else(|| FieldError::new(field, "is required"))?;
    Reference::parse(field, ReferenceKind::of_number(i64::from(reference.kind)), &reference.id)
}

/// What an upload ties its file to.
pub(super) fn of_start(references: &[proto::Reference]) -> Result<References> {
    if references.len() > REFERENCES_IN_CALL_MAX {
        return Err(FieldError::new("references", "must be at most 100"));
    }
    references.iter().map(|reference| reference_of("references", Some(reference))).collect()
}

/// A reference with the files to tie to it or to untie from it.
pub(crate) fn association(
    reference: Option<&proto::Reference>,
    file_ids: &[String],
    user_id: &str,
) -> Result<Association> {
    if file_ids.is_empty() || file_ids.len() > REFERENCES_IN_CALL_MAX {
        return Err(FieldError::new("file_ids", "must be 1 to 100"));
    }
    let parse = |id: &String| {
        let wanted = |_| FieldError::new("file_ids", "must each be file_ and 22 letters or digits");
        id.parse().map_err(wanted)
    };
    Ok(Association {
        owner: owner(user_id)?,
        reference: reference_of("reference", reference)?,
        file_ids: file_ids.iter().map(parse).collect::<Result<_>>()?,
    })
}
