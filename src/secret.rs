//! Making secrets, and what stands for them in the store.

use crate::core::digest::DigestKeys;
use crate::core::record::Verifier;
use crate::core::token::{Secret, TokenKind};

/// A secret of ours and the digest that stands for it.
pub(crate) fn make(
    kind: TokenKind,
    keys: &DigestKeys,
) -> Result<(Secret, Verifier), getrandom::Error> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    let secret = Secret::from_entropy(kind, entropy);
    let verifier = digest_of(&secret, keys);
    Ok((secret, verifier))
}

/// The digest of a secret under the current key.
pub(crate) fn digest_of(secret: &Secret, keys: &DigestKeys) -> Verifier {
    let key = keys.current();
    let digest = key.digest(secret.expose().as_bytes());
    Verifier::Digest { key_id: key.id().to_owned(), digest }
}
