//! Page tokens: a place in one listing, authenticated so that nobody can make or move one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::Listing;
use crate::{
    clock::Timestamp,
    error::FieldError,
    file::id::FileId,
    metadata::ListPosition,
    signing::keys::{KeyRing, Signature},
};

const SIGNATURE_BYTES: usize = size_of::<Signature>();

/// The listing that a token belongs to: its user, its filter, and whether deleted files show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope(String);

impl Scope {
    pub(super) fn of(listing: &Listing) -> Self {
        let Listing { user_id, filter, show_deleted, size: _ } = listing;
        // Its Debug form spells every field out. Another version's may differ: its listings begin anew.
        let digest = Sha256::digest(format!("{filter:?}:{show_deleted}"));
        Self(format!("{}:{}", hex::encode(digest), user_id.as_str()))
    }
}

/// What is signed. It begins unlike the message of any link, so neither can stand for the other.
fn message(scope: &Scope, place: &str) -> String {
    format!("page:{place}:{}", scope.0)
}

pub(super) fn write(keys: &KeyRing, scope: &Scope, position: ListPosition) -> String {
    let place = format!("{}:{}", position.create_time.unix_us(), position.file_id);
    let mut token = keys.sign(&message(scope, &place)).to_vec();
    token.extend_from_slice(place.as_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

pub(super) fn read(keys: &KeyRing, scope: &Scope, token: &str) -> Result<ListPosition, FieldError> {
    parse(keys, scope, token).ok_or_else(|| {
        FieldError::new("page_token", "must be the next_page_token of the same listing")
    })
}

fn parse(keys: &KeyRing, scope: &Scope, token: &str) -> Option<ListPosition> {
    let token = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (signature, place) = token.split_at_checked(SIGNATURE_BYTES)?;
    let place = std::str::from_utf8(place).ok()?;
    let signature = signature.try_into().ok()?;
    if !keys.verify(&message(scope, place), &signature) {
        return None;
    }
    let (create_time, file_id) = place.split_once(':')?;
    Some(ListPosition {
        create_time: Timestamp::from_unix_us(create_time.parse().ok()?),
        file_id: FileId::parse(file_id)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{file::user::UserId, metadata::FileFilter};

    #[test]
    fn a_token_is_good_for_its_own_listing_and_unchanged_only() {
        let keys = KeyRing::new(["0123456789abcdef0123456789abcdef"]).expect("a ring");
        let listing = |user: &str, purposes: &[&str], show_deleted| Listing {
            user_id: UserId::parse(user).expect("a user id"),
            filter: FileFilter {
                purposes: purposes.iter().map(|it| (*it).to_owned()).collect(),
                ..FileFilter::default()
            },
            show_deleted,
            size: 1,
        };
        let scope = |user, purposes, deleted| Scope::of(&listing(user, purposes, deleted));
        let position = ListPosition {
            create_time: Timestamp::from_unix_us(1_711_657_200_000_001),
            file_id: FileId::parse("file_rxW1Vo7BgEKDqB8Lx7mN2f").expect("an id"),
        };
        let anna = scope("anna", &["vision"], false);
        let token = write(&keys, &anna, position);
        assert_eq!(read(&keys, &anna, &token), Ok(position));
        for other in [
            scope("bert", &["vision"], false),
            scope("anna", &[], false),
            scope("anna", &["vision", "batch"], false),
            scope("anna", &["vision"], true),
        ] {
            assert!(read(&keys, &other, &token).is_err(), "{other:?}");
        }
        for place in 0..token.len() {
            let mut edited = token.clone().into_bytes();
            edited[place] = if edited[place] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).expect("ASCII");
            assert!(read(&keys, &anna, &edited).is_err(), "{place}");
        }
    }
}
