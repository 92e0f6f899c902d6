//! Page tokens: a place in one user's listing, authenticated so that nobody can make or move one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    clock::Timestamp,
    error::FieldError,
    file::{id::FileId, user::UserId},
    metadata::ListPosition,
    signing::keys::{KeyRing, Signature},
};

const SIGNATURE_BYTES: usize = size_of::<Signature>();

/// What is signed. It begins unlike the message of any link, so neither can stand for the other.
fn message(user_id: &UserId, place: &str) -> String {
    format!("page:{place}:{}", user_id.as_str())
}

pub(super) fn write(keys: &KeyRing, user_id: &UserId, position: ListPosition) -> String {
    let place = format!("{}:{}", position.create_time.unix_us(), position.file_id);
    let mut token = keys.sign(&message(user_id, &place)).to_vec();
    token.extend_from_slice(place.as_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

pub(super) fn read(
    keys: &KeyRing,
    user_id: &UserId,
    token: &str,
) -> Result<ListPosition, FieldError> {
    parse(keys, user_id, token).ok_or_else(|| {
        FieldError::new("page_token", "must be the next_page_token of the same listing")
    })
}

fn parse(keys: &KeyRing, user_id: &UserId, token: &str) -> Option<ListPosition> {
    let token = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (signature, place) = token.split_at_checked(SIGNATURE_BYTES)?;
    let place = std::str::from_utf8(place).ok()?;
    let signature = signature.try_into().ok()?;
    if !keys.verify(&message(user_id, place), &signature) {
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

    #[test]
    fn a_token_is_good_for_its_own_user_and_unchanged_only() {
        let keys = KeyRing::new(["0123456789abcdef0123456789abcdef"]).expect("a ring");
        let user = |id: &str| UserId::parse(id).expect("a user id");
        let position = ListPosition {
            create_time: Timestamp::from_unix_us(1_711_657_200_000_001),
            file_id: FileId::parse("file_rxW1Vo7BgEKDqB8Lx7mN2f").expect("an id"),
        };
        let token = write(&keys, &user("anna"), position);
        assert_eq!(read(&keys, &user("anna"), &token), Ok(position));
        assert!(read(&keys, &user("bert"), &token).is_err());
        for place in 0..token.len() {
            let mut edited = token.clone().into_bytes();
            edited[place] = if edited[place] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).expect("ASCII");
            assert!(read(&keys, &user("anna"), &edited).is_err(), "{place}");
        }
    }
}
