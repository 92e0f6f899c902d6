//! References: the thread, message, run, tool, assistant or vector store that a file belongs to.

use std::collections::BTreeSet;

use crate::error::FieldError;

const ID_BYTES_MAX: usize = 255;
/// Most references that one call names.
pub const REFERENCES_IN_CALL_MAX: usize = 100;
/// Most references of one file: bounds what every answer about it must carry.
pub const REFERENCES_OF_FILE_MAX: usize = 1000;

/// What kind of thing a file belongs to. The numbers are those of the contract, and are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReferenceKind {
    /// An assistant.
    Assistant = 1,
    /// A thread.
    Thread = 2,
    /// A message.
    Message = 3,
    /// A run.
    Run = 4,
    /// A tool.
    Tool = 5,
    /// A vector store.
    VectorStore = 6,
}

impl ReferenceKind {
    /// Every kind, by number.
    pub const ALL: [Self; 6] =
        [Self::Assistant, Self::Thread, Self::Message, Self::Run, Self::Tool, Self::VectorStore];

    /// The kind's number.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The kind with this number, where there is one.
    pub fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// One thing that a file belongs to. Its id is the platform's own: 1 to 255 bytes without control
/// characters, opaque here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    kind: ReferenceKind,
    id: String,
}

impl Reference {
    /// Reads a reference; `field` is what a refusal names.
    pub fn parse(
        field: &'static str,
        kind: Option<ReferenceKind>,
        id: &str,
    ) -> Result<Self, FieldError> {
        let refuse = |problem: &str| Err(FieldError::new(field, problem));
        let Some(kind) = kind else {
            return refuse(
                "kind must be one of ASSISTANT, THREAD, MESSAGE, RUN, TOOL, VECTOR_STORE",
            );
        };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return refuse("id must be 1 to 255 bytes");
        }
        if id.chars().any(char::is_control) {
            return refuse("id must hold no control characters");
        }
        Ok(Self { kind, id: id.to_owned() })
    }

    /// A reference read back from where an accepted one was stored.
    pub const fn stored(kind: ReferenceKind, id: String) -> Self {
        Self { kind, id }
    }

    /// What kind of thing it is.
    pub const fn kind(&self) -> ReferenceKind {
        self.kind
    }

    /// The thing's own id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// What a file belongs to, in order and each once.
pub type References = BTreeSet<Reference>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_kind_and_an_id_of_1_to_255_bytes() {
        let of = |kind, id: &str| Reference::parse("reference", kind, id);
        let thread = Some(ReferenceKind::Thread);
        assert!(of(thread, "t").is_ok());
        assert!(of(thread, &"é".repeat(127)).is_ok());
        assert!(of(None, "t").is_err());
        for id in ["", &"t".repeat(256), "a\0b", "a\nb"] {
            assert!(of(thread, id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn numbers_and_kinds_convert_both_ways() {
        for kind in ReferenceKind::ALL {
            assert_eq!(ReferenceKind::of_number(kind.number()), Some(kind));
        }
        assert_eq!(ReferenceKind::of_number(0), None);
        assert_eq!(ReferenceKind::of_number(7), None);
    }
}
