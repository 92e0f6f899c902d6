//! Links made and checked in one thread: the library alone, without a server.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use files::{
    clock::Timestamp,
    file::id::FileId,
    signing::{
        UrlSigner,
        keys::KeyRing,
        link::{Grant, SignedQuery},
    },
};
use url::Url;

use crate::{
    case::{Amount, Case, Run},
    scale::Scale,
};

const KEY: &str = "bench-secret-0123456789abcdef0123";
const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);
const LIFE_S: i64 = 600;
const WORK: &str = "signed URLs, one core";

/// Signing, and verifying as a download does.
pub(crate) fn cases(scale: &Scale) -> Result<Vec<Case<'static>>> {
    let links = scale.links;
    let (signing, grant) = (signer()?, grant()?);
    let (verifying, url) = (signer()?, signing.sign(&grant, 0));
    let query = url.split_once('?').context("a URL without a query")?.1.to_owned();
    Ok(vec![
        Case::new(WORK, "files: sign", Amount::Pieces(links), move || {
            Run::of(None, || {
                for _ in 0..links {
                    black_box(signing.sign(black_box(&grant), 0));
                }
                Ok(())
            })
        }),
        Case::new(WORK, "files: parse and verify", Amount::Pieces(links), move || {
            Run::of(None, || {
                for _ in 0..links {
                    let query = SignedQuery::parse(black_box(&query))?;
                    ensure!(verifying.verify(&query, 0, NOW).is_ok(), "a true link was refused");
                }
                Ok(())
            })
        }),
    ])
}

fn signer() -> Result<UrlSigner> {
    Ok(UrlSigner::new(KeyRing::new([KEY])?, &Url::parse("http://localhost:9000")?))
}

fn grant() -> Result<Grant> {
    Ok(Grant {
        file_id: FileId::random()?,
        expires_unix_s: NOW.unix_s() + LIFE_S,
        disposition: None,
        filename: None,
    })
}
