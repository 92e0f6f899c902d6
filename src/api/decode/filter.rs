//! The filter of a listing.

use super::{Result, reference_of, sha256, timestamp};
use crate::{
    error::FieldError,
    file::{labels::Labels, media_type::MediaType, name},
    proto,
    service::metadata::{FileFilter, MediaTypePattern},
};

/// Most entries in one of the filter's lists.
const LIST_MAX: usize = 50;
const TEXT_BYTES_MAX: usize = 255;

/// Reads a filter; its lists come out in order and without repetition.
pub(super) fn filter(filter: proto::FileFilter) -> Result<FileFilter> {
    let reference = filter.reference.as_ref();
    let reference = reference.map(|it| reference_of("filter.reference", Some(it))).transpose()?;
    let (from, to) = (filter.create_time_from, filter.create_time_to);
    let create_time_from =
        from.map(|from| timestamp("filter.create_time_from", from)).transpose()?;
    let create_time_to = to.map(|to| timestamp("filter.create_time_to", to)).transpose()?;
    if let (Some(from), Some(to)) = (create_time_from, create_time_to)
        && from >= to
    {
        let problem = "must be after create_time_from";
        return Err(FieldError::new("filter.create_time_to", problem));
    }
    Ok(FileFilter {
        purposes: purposes(filter.purposes)?,
        media_types: media_types(&filter.mime_types)?,
        name_contains: name_part(&filter.filename_contains)?,
        reference,
        sha256: sha256("filter.sha256", &filter.sha256)?,
        labels: labels(filter.labels)?,
        create_time_from,
        create_time_to,
    })
}

fn purposes(mut purposes: Vec<String>) -> Result<Vec<String>> {
    check_list("filter.purposes", &purposes)?;
    purposes.sort_unstable();
    purposes.dedup();
    Ok(purposes)
}

fn media_types(texts: &[String]) -> Result<Vec<MediaTypePattern>> {
    const FIELD: &str = "filter.mime_types";
    check_list(FIELD, texts)?;
    let parse = |text: &String| {
        let whole = text.strip_suffix("/*");
        // Any subtype tells whether the top-level type is one.
        let media_type = match whole {
            Some(top_level) => MediaType::parse(&format!("{top_level}/x")),
            None => MediaType::parse(text),
        };
        let wanted = || FieldError::new(FIELD, "must each be of the form image/png or image/*");
        let media_type = media_type.ok_or_else(wanted)?;
        Ok(match whole {
            Some(top_level) => MediaTypePattern::TopLevel(top_level.to_ascii_lowercase()),
            None => MediaTypePattern::Exact(media_type.as_str().to_owned()),
        })
    };
    let mut patterns = texts.iter().map(parse).collect::<Result<Vec<_>>>()?;
    patterns.sort_unstable();
    patterns.dedup();
    // What a whole top-level type takes in already would show its files twice.
    let whole: Vec<String> = patterns
        .iter()
        .filter_map(|pattern| match pattern {
            MediaTypePattern::TopLevel(top_level) => Some(format!("{top_level}/")),
            MediaTypePattern::Exact(_) => None,
        })
        .collect();
    patterns.retain(|pattern| match pattern {
        MediaTypePattern::Exact(exact) => !whole.iter().any(|it| exact.starts_with(it)),
        MediaTypePattern::TopLevel(_) => true,
    });
    Ok(patterns)
}

fn name_part(text: &str) -> Result<Option<String>> {
    const FIELD: &str = "filter.filename_contains";
    if text.len() > TEXT_BYTES_MAX {
        return Err(FieldError::new(FIELD, "must be at most 255 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new(FIELD, "must hold no control characters"));
    }
    Ok((!text.is_empty()).then(|| name::folded(text)))
}

fn labels(
    labels: std::collections::BTreeMap<String, String>,
) -> Result<std::collections::BTreeMap<String, String>> {
    let wanted = |error: FieldError| FieldError::new("filter.labels", error.problem);
    Ok(Labels::parse(labels).map_err(wanted)?.as_map().clone())
}

fn check_list(field: &'static str, texts: &[String]) -> Result<()> {
    if texts.len() > LIST_MAX {
        return Err(FieldError::new(field, "must be at most 50"));
    }
    let good = |text: &String| {
        (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    match texts.iter().all(good) {
        true => Ok(()),
        false => {
            Err(FieldError::new(field, "must each be 1 to 255 bytes without control characters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_a_whole_top_level_type_takes_in_is_left_out() {
        let of = |texts: &[&str]| {
            media_types(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let top_level = |text: &str| MediaTypePattern::TopLevel(text.to_owned());
        let exact = |text: &str| MediaTypePattern::Exact(text.to_owned());
        assert_eq!(
            of(&["image/png", "text/plain", "IMAGE/*", "text/plain"]),
            Ok(vec![top_level("image"), exact("text/plain")])
        );
        for text in ["", "image", "image/", "/png", "*/*", "image/p ng", "image/*/x"] {
            assert!(of(&[text]).is_err(), "{text:?}");
        }
    }
}
