//! Updates: which fields the mask names, and what they are to become (AIP-134, AIP-161).

use prost_types::FieldMask;

use super::{Result, timestamp};
use crate::{
    error::FieldError,
    file::{id::FileId, labels::Labels, name::FileName, user::UserId},
    proto::{self, UpdateFileRequest},
    service::metadata::FileUpdate,
};

const MUTABLE: [&str; 4] = ["filename", "labels", "expire_time", "delete_when_unreferenced"];
const IMMUTABLE: [&str; 11] = [
    "id",
    "user_id",
    "purpose",
    "mime_type",
    "size_bytes",
    "sha256",
    "create_time",
    "update_time",
    "delete_time",
    "purge_time",
    "etag",
];

/// A file, on whose behalf, and what of it is to change.
pub(crate) fn update(request: UpdateFileRequest) -> Result<(FileId, Option<UserId>, FileUpdate)> {
    let file = request.file.ok_or_else(|| FieldError::new("file", "is required"))?;
    let named = |error: FieldError| FieldError::new("file.id", error.problem);
    let file_id = file.id.parse().map_err(named)?;
    let owner = super::owner(&request.user_id)?;
    let paths = paths(request.update_mask, &file)?;
    let mut update = FileUpdate {
        etag: (!file.etag.is_empty()).then(|| file.etag.clone()),
        ..FileUpdate::default()
    };
    for path in paths {
        match path {
            "filename" => update.name = Some(FileName::parse("file.filename", &file.filename)?),
            "labels" => update.labels = Some(labels(&file)?),
            "expire_time" => {
                let time = file.expire_time.map(|time| timestamp("file.expire_time", time));
                update.expire_time = Some(time.transpose()?);
            }
            _ => update.delete_when_unreferenced = Some(file.delete_when_unreferenced),
        }
    }
    Ok((file_id, owner, update))
}

/// The fields to change: those that the mask names, all for `*`, and without a mask those that are set.
fn paths(mask: Option<FieldMask>, file: &proto::File) -> Result<Vec<&'static str>> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return populated(file);
    };
    if mask.paths == ["*"] {
        return Ok(MUTABLE.to_vec());
    }
    let known = |path: &String| match MUTABLE.into_iter().find(|it| it == path) {
        Some(path) => Ok(path),
        None if IMMUTABLE.contains(&path.as_str()) || path == "references" => {
            Err(FieldError::new("update_mask", format!("{path} cannot be changed")))
        }
        None => {
            let problem = format!("must name fields out of {}", MUTABLE.join(", "));
            Err(FieldError::new("update_mask", problem))
        }
    };
    mask.paths.iter().map(known).collect()
}

fn populated(file: &proto::File) -> Result<Vec<&'static str>> {
    let set = [
        !file.filename.is_empty(),
        !file.labels.is_empty(),
        file.expire_time.is_some(),
        file.delete_when_unreferenced,
    ];
    let paths: Vec<_> =
        MUTABLE.into_iter().zip(set).filter(|(_, set)| *set).map(|it| it.0).collect();
    match paths.is_empty() {
        true => Err(FieldError::new("update_mask", "must name the fields to change")),
        false => Ok(paths),
    }
}

fn labels(file: &proto::File) -> Result<Labels> {
    let wanted = |error: FieldError| FieldError::new("file.labels", error.problem);
    Labels::parse(file.labels.clone()).map_err(wanted)
}
