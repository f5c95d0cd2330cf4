//! Pieces of encoded hashes: decimal numbers, named parameters and base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::VerifierError;

const UNPADDED: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone);
const PHC: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, UNPADDED);
// Some implementations leave stray bits in the last character of the salt; bcrypt ignores them.
const BCRYPT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::BCRYPT, UNPADDED.with_decode_allow_trailing_bits(true));

/// The parts between `$`, exactly `N` of them.
pub(super) fn fields<'a, const N: usize>(
    form: &'static str,
    text: &'a str,
) -> Result<[&'a str; N], VerifierError> {
    let mut parts = text.split('$');
    let fields = std::array::from_fn(|_| parts.next());
    if fields.iter().any(Option::is_none) {
        return Err(malformed(form, "it has too few fields"));
    }
    if parts.next().is_some() {
        return Err(malformed(form, "it has too many fields"));
    }
    Ok(fields.map(Option::unwrap_or_default))
}

/// A decimal number without sign; one that is too large for `u64` is the largest `u64`.
pub(super) fn number(form: &'static str, text: &str) -> Result<u64, VerifierError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed(form, "a parameter is not a decimal number"));
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Comma-separated `name=number`, in any order, each known and at most once.
pub(super) fn parameters<const N: usize>(
    form: &'static str,
    text: &str,
    names: [&str; N],
) -> Result<[Option<u64>; N], VerifierError> {
    let mut values = [None; N];
    for parameter in text.split(',') {
        let (name, value) =
            parameter.split_once('=').ok_or_else(|| malformed(form, "a parameter has no value"))?;
        let position = names
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| malformed(form, "it has a parameter that is not known"))?;
        if values[position].replace(number(form, value)?).is_some() {
            return Err(malformed(form, "a parameter is given twice"));
        }
    }
    Ok(values)
}

/// A parameter that must be there.
pub(super) fn required(form: &'static str, value: Option<u64>) -> Result<u64, VerifierError> {
    value.ok_or_else(|| malformed(form, "a cost parameter is missing"))
}

/// Standard base64 without padding, as in PHC strings.
pub(super) fn base64(form: &'static str, text: &str) -> Result<Vec<u8>, VerifierError> {
    PHC.decode(text).map_err(|_| malformed(form, "its salt or hash is not unpadded base64"))
}

/// Standard base64 with its padding, as Django writes it.
pub(super) fn padded_base64(form: &'static str, text: &str) -> Result<Vec<u8>, VerifierError> {
    STANDARD.decode(text).map_err(|_| malformed(form, "its hash is not padded base64"))
}

/// Base64 as passlib writes it: unpadded, with `.` for `+`.
pub(super) fn adapted_base64(form: &'static str, text: &str) -> Result<Vec<u8>, VerifierError> {
    base64(form, &text.replace('.', "+"))
}

/// Base64 in bcrypt's alphabet, of exactly `N` bytes.
pub(super) fn bcrypt_base64<const N: usize>(
    form: &'static str,
    text: &str,
) -> Result<[u8; N], VerifierError> {
    let bytes = BCRYPT.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| malformed(form, "its salt or hash is not bcrypt's base64"))
}

/// The error for a hash whose beginning says more than the rest keeps.
pub(super) fn malformed(form: &'static str, problem: &'static str) -> VerifierError {
    VerifierError::Malformed { form, problem }
}
