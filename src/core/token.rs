//! The token grammar: what a secret of ours looks like, and what else may be one.
//!
//! `pts_` (service) or `ptu_` (personal), 43 base62 characters of entropy (256 bits), and 6
//! base62 characters of CRC-32/ISO-HDLC over the 47 before. The checksum lets a scanner find
//! leaked tokens without false alarms and lets the gate refuse a typing error before any look-up.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of a token of ours: prefix, entropy and checksum.
pub const TOKEN_LEN: usize = PREFIX_LEN + ENTROPY_LEN + CHECKSUM_LEN;
/// Shortest and longest token made elsewhere that is accepted, in bytes.
pub const FOREIGN_LEN: std::ops::RangeInclusive<usize> = 16..=512;

const PREFIX_LEN: usize = 4;
const ENTROPY_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Who a token made here belongs to; decides its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `pts_`: an account's.
    Service,
    /// `ptu_`: a user's.
    Personal,
}

impl TokenKind {
    /// The four characters that a token of this kind begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Service => "pts_",
            Self::Personal => "ptu_",
        }
    }
}

/// A token's secret. Wiped when dropped; its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Makes a token of ours out of 256 bits of entropy from the operating system.
    pub fn from_entropy(kind: TokenKind, mut entropy: [u8; 32]) -> Self {
        let mut text = String::with_capacity(TOKEN_LEN);
        text.push_str(kind.prefix());
        push_base62::<ENTROPY_LEN>(&mut text, &mut entropy);
        let mut checksum = crc32fast::hash(text.as_bytes()).to_be_bytes();
        push_base62::<CHECKSUM_LEN>(&mut text, &mut checksum);
        entropy.zeroize();
        Self(text)
    }

    /// Takes a secret as presented or imported, if it could be one.
    ///
    /// # Errors
    /// [`Malformed`] says which rule it breaks, and never what it is.
    pub fn parse(text: String) -> Result<Self, Malformed> {
        let secret = Self(text);
        check(secret.0.as_bytes())?;
        Ok(secret)
    }

    /// The secret itself: for printing it once and for digesting it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Why a text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Neither ours nor of a length that others' tokens may have.
    #[error("a token made elsewhere has 16 to 512 bytes")]
    Length,
    /// A byte outside 0x21 to 0x7E.
    #[error("a token has only the bytes 0x21 to 0x7E")]
    Alphabet,
    /// Our prefix, but not our checksum.
    #[error(
        "the token has this service's prefix but its checksum is wrong: it was mistyped or cut off"
    )]
    Checksum,
}

/// Checks the grammar and, where the prefix is ours, the checksum.
///
/// # Errors
/// The rule that the bytes break.
#[inline]
pub fn check(token: &[u8]) -> Result<(), Malformed> {
    if has_our_prefix(token) {
        return if is_ours(token) { Ok(()) } else { Err(Malformed::Checksum) };
    }
    if !FOREIGN_LEN.contains(&token.len()) {
        return Err(Malformed::Length);
    }
    if !token.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
        return Err(Malformed::Alphabet);
    }
    Ok(())
}

/// Whether the text begins as only our tokens may.
#[inline]
pub fn has_our_prefix(token: &[u8]) -> bool {
    token.starts_with(TokenKind::Service.prefix().as_bytes())
        || token.starts_with(TokenKind::Personal.prefix().as_bytes())
}

/// Whether the bytes are a whole token of ours: prefix, alphabet, length and checksum.
#[inline]
pub fn is_ours(token: &[u8]) -> bool {
    if token.len() != TOKEN_LEN || !has_our_prefix(token) {
        return false;
    }
    let (body, checksum) = token.split_at(TOKEN_LEN - CHECKSUM_LEN);
    if !body[PREFIX_LEN..].iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let mut expected = [b'0'; CHECKSUM_LEN];
    let mut rest = crc32fast::hash(body);
    for digit in expected.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    expected == checksum
}

/// Appends a big-endian number as exactly `LEN` base62 digits, using it up.
fn push_base62<const LEN: usize>(text: &mut String, number: &mut [u8]) {
    let mut digits = [0_u8; LEN];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in number.iter_mut() {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    text.extend(digits.iter().map(|digit| char::from(*digit)));
    digits.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_token_has_the_documented_shape_and_passes_its_own_check() {
        for kind in [TokenKind::Service, TokenKind::Personal] {
            for entropy in [[0; 32], [255; 32], [7; 32]] {
                let secret = Secret::from_entropy(kind, entropy);
                assert_eq!(secret.expose().len(), TOKEN_LEN);
                assert!(secret.expose().starts_with(kind.prefix()));
                assert!(is_ours(secret.expose().as_bytes()));
            }
        }
    }

    #[test]
    fn zero_entropy_is_left_padded_and_its_checksum_is_a_known_value() {
        let secret = Secret::from_entropy(TokenKind::Service, [0; 32]);
        let body = format!("pts_{}", "0".repeat(43));
        assert!(secret.expose().starts_with(&body));
        let digits = &secret.expose()[47..];
        let value = digits.bytes().fold(0_u64, |value, digit| {
            value * 62 + ALPHABET.iter().position(|known| *known == digit).unwrap() as u64
        });
        assert_eq!(value, u64::from(crc32fast::hash(body.as_bytes())));
    }

    #[test]
    fn the_crc_is_the_iso_hdlc_one() {
        // Check value of CRC-32/ISO-HDLC for "123456789".
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn any_changed_character_of_ours_is_refused() {
        let secret = Secret::from_entropy(TokenKind::Service, [9; 32]);
        for position in 0..TOKEN_LEN {
            let mut changed = secret.expose().as_bytes().to_vec();
            changed[position] = if changed[position] == b'x' { b'y' } else { b'x' };
            assert!(!is_ours(&changed), "position {position}");
        }
    }

    #[test]
    fn foreign_tokens_are_bounded_in_length_and_alphabet() {
        assert_eq!(check(&[b'a'; 15]), Err(Malformed::Length));
        assert_eq!(check(&[b'a'; 16]), Ok(()));
        assert_eq!(check(&[b'a'; 512]), Ok(()));
        assert_eq!(check(&[b'a'; 513]), Err(Malformed::Length));
        assert_eq!(check(b"0123456789abcde f"), Err(Malformed::Alphabet));
        assert_eq!(check(b"pts_short"), Err(Malformed::Checksum));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::from_entropy(TokenKind::Service, [3; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    }
}
