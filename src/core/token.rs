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
/// Longest selector, the beginning of a secret by which slow tokens are looked for, in bytes.
pub const SELECTOR_LIMIT: usize = 8;

const PREFIX_LEN: usize = 4;
const ENTROPY_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const BODY_LEN: usize = PREFIX_LEN + ENTROPY_LEN;
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

/// Whether a token that begins as one of these may be sent to an introspection endpoint: never one
/// of ours.
pub fn may_be_asked_about(token: &[u8], selectors: &[String]) -> bool {
    !has_our_prefix(token)
        && selectors.iter().any(|selector| token.starts_with(selector.as_bytes()))
}

/// Whether the bytes are a whole token of ours: prefix, alphabet, length and checksum.
#[inline]
pub fn is_ours(token: &[u8]) -> bool {
    let Ok(token) = <&[u8; TOKEN_LEN]>::try_from(token) else { return false };
    if !has_our_prefix(token) {
        return false;
    }
    let (body, digits) = token.split_at(BODY_LEN);
    // Without a way out before the end: then the compiler compares sixteen at a time.
    let alphabet =
        token[PREFIX_LEN..].iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
    let number = digits.iter().fold(0, |number, digit| number * 62 + value_of(*digit));
    alphabet && number == u64::from(checksum(body))
}

/// CRC-32/ISO-HDLC of the part before the checksum. A CRC is linear: it is the sum of what the
/// bits of each byte add to it at their place, whatever the others are. Looked up by half bytes,
/// none of which waits for another, that takes a tenth of the time of going byte by byte.
#[inline]
fn checksum(body: &[u8]) -> u32 {
    let halves = body.iter().zip(PLACES).map(|(byte, place)| {
        place[usize::from(byte & 15)] ^ place[16 + usize::from(byte >> 4 & 7)]
    });
    halves.fold(NOTHING_BUT_ZEROS, |sum, half| sum ^ half)
}

/// Value of a base62 digit. That of anything else is of no meaning.
#[inline]
fn value_of(digit: u8) -> u64 {
    u64::from(match digit {
        b'a'.. => digit - b'a' + 36,
        b'A'.. => digit - b'A' + 10,
        _ => digit.wrapping_sub(b'0'),
    })
}

/// What the low and the high half of an ASCII byte add to the checksum, by its place.
const PLACES: &[[u32; 24]; BODY_LEN] = &{
    let mut places = [[0; 24]; BODY_LEN];
    let mut at = BODY_LEN;
    while at > 0 {
        at -= 1;
        let mut half = 0;
        while half < 24 {
            let byte = if half < 16 { half as u32 } else { (half as u32 - 16) << 4 };
            let after = if at + 1 < BODY_LEN { places[at + 1][half] } else { byte };
            places[at][half] = next(after);
            half += 1;
        }
    }
    places
};

/// Checksum of as many NULs as are before it.
const NOTHING_BUT_ZEROS: u32 = {
    let (mut sum, mut left) = (u32::MAX, BODY_LEN);
    while left > 0 {
        sum = next(sum);
        left -= 1;
    }
    !sum
};

/// Moves a CRC on by one byte, which has been added to its lowest bits.
const fn next(mut sum: u32) -> u32 {
    let mut bit = 0;
    while bit < 8 {
        sum = if sum & 1 != 0 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        bit += 1;
    }
    sum
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

    proptest::proptest! {
        #[test]
        fn the_checksum_by_places_is_the_crc(body in "[ -~]{47}") {
            proptest::prop_assert_eq!(checksum(body.as_bytes()), crc32fast::hash(body.as_bytes()));
        }

        #[test]
        fn only_the_one_right_checksum_passes(entropy: [u8; 32], digits in "[!-~]{6}") {
            let secret = Secret::from_entropy(TokenKind::Service, entropy);
            proptest::prop_assert!(is_ours(secret.expose().as_bytes()));
            let (body, right) = secret.expose().split_at(BODY_LEN);
            let other = format!("{body}{digits}");
            proptest::prop_assert_eq!(is_ours(other.as_bytes()), digits == right);
        }
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
