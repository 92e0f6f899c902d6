//! How references are written: `KIND:ID`.

use crate::proto::{Reference, ReferenceKind};

const KINDS: [(&str, ReferenceKind); 6] = [
    ("assistant", ReferenceKind::Assistant),
    ("thread", ReferenceKind::Thread),
    ("message", ReferenceKind::Message),
    ("run", ReferenceKind::Run),
    ("tool", ReferenceKind::Tool),
    ("vector-store", ReferenceKind::VectorStore),
];

/// `KIND:ID`; the id may hold more colons.
pub(super) fn parse(text: &str) -> Result<Reference, String> {
    let (kind, id) = text.split_once(':').ok_or("must be KIND:ID, such as thread:t-42")?;
    let name = kind.replace('_', "-");
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
        let known = KINDS.map(|(name, _)| name).join(", ");
        return Err(format!("{kind} is not a kind; there are {known}"));
    };
    if id.is_empty() {
        return Err("the id after the colon is missing".to_owned());
    }
    Ok(Reference { kind: (*kind).into(), id: id.to_owned() })
}

/// The kind as it is written here; a kind unknown to this version is `unknown`.
pub(super) fn kind(reference: &Reference) -> &'static str {
    let known = KINDS.iter().find(|(_, kind)| *kind == reference.kind());
    known.map_or("unknown", |(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_ends_its_kind_at_the_first_colon() {
        for (text, kind, id) in [
            ("thread:t-42", ReferenceKind::Thread, "t-42"),
            ("tool:a:b:c", ReferenceKind::Tool, "a:b:c"),
            ("message::", ReferenceKind::Message, ":"),
            ("vector-store:v", ReferenceKind::VectorStore, "v"),
            ("vector_store:v", ReferenceKind::VectorStore, "v"),
        ] {
            assert_eq!(parse(text), Ok(Reference { kind: kind.into(), id: id.to_owned() }));
        }
        for text in ["", "thread", "thread:", ":t", "Thread:t", "folder:f"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_kind_is_written_as_it_is_read() {
        for (name, _) in KINDS {
            assert_eq!(parse(&format!("{name}:x")).as_ref().map(kind), Ok(name));
        }
        assert_eq!(kind(&Reference { kind: 99, id: "x".to_owned() }), "unknown");
    }
}
