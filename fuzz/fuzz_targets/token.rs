//! The token grammar, against the same rules written down the slow way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::core::facts::Credential;
use portcullis::core::token::{Malformed, Secret, TokenKind, check, has_our_prefix, is_ours};

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(check(bytes), naive(bytes));
    assert_eq!(is_ours(bytes), has_our_prefix(bytes) && naive(bytes).is_ok());
    assert!(!format!("{:?}", Credential::Header(bytes)).contains("MARKED"));
    if let Ok(text) = str::from_utf8(bytes) {
        taken_as_it_is_or_refused_for_the_same_reason(text);
    }
    if let Some(entropy) = bytes.first_chunk::<32>() {
        made_tokens_pass_and_changed_ones_do_not(*entropy, bytes);
    }
});

fn taken_as_it_is_or_refused_for_the_same_reason(text: &str) {
    match Secret::parse(text.to_owned()) {
        Ok(secret) => {
            assert_eq!(secret.expose(), text);
            assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        }
        Err(why) => assert_eq!(Err(why), naive(text.as_bytes())),
    }
}

fn made_tokens_pass_and_changed_ones_do_not(entropy: [u8; 32], bytes: &[u8]) {
    let kind = if bytes.len() % 2 == 0 { TokenKind::Service } else { TokenKind::Personal };
    let secret = Secret::from_entropy(kind, entropy);
    assert_eq!(naive(secret.expose().as_bytes()), Ok(()));
    assert!(secret.expose().starts_with(kind.prefix()));
    let mut changed = secret.expose().as_bytes().to_vec();
    let at = 4 + usize::from(entropy[0]) % (changed.len() - 4);
    changed[at] = bytes[bytes.len() - 1];
    // A CRC finds every error within 32 bits in a row.
    assert_eq!(is_ours(&changed), changed == secret.expose().as_bytes());
}

fn naive(token: &[u8]) -> Result<(), Malformed> {
    if token.starts_with(b"pts_") || token.starts_with(b"ptu_") {
        let whole = token.len() == 53
            && token[4..].iter().all(u8::is_ascii_alphanumeric)
            && token[47..] == checksum(&token[..47]);
        return if whole { Ok(()) } else { Err(Malformed::Checksum) };
    }
    if token.len() < 16 || token.len() > 512 {
        return Err(Malformed::Length);
    }
    match token.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
        true => Ok(()),
        false => Err(Malformed::Alphabet),
    }
}

/// CRC-32/ISO-HDLC bit by bit, as six base62 digits.
fn checksum(body: &[u8]) -> [u8; 6] {
    let mut sum = u32::MAX;
    for byte in body {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    let mut rest = !sum;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = match (rest % 62) as u8 {
            value @ 0..10 => b'0' + value,
            value @ 10..36 => b'A' + value - 10,
            value => b'a' + value - 36,
        };
        rest /= 62;
    }
    digits
}
