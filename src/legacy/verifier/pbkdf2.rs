//! PBKDF2 with HMAC: Django's, PHC's and passlib's encodings.

use ::pbkdf2::hmac::digest::{FixedOutput, Update};
use ::pbkdf2::hmac::{EagerHash, Hmac, KeyInit};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::bounds::within;
use super::slices::keep;
use super::text::{adapted_base64, fields, malformed, number, padded_base64, parameters, required};
use super::{Bounds, Pace, Unverified, VerifierError};

/// Output lengths that a PHC string may name, in bytes: any shorter could be guessed.
const NAMED_OUTPUT_LEN: std::ops::RangeInclusive<usize> = 16..=64;

/// Rounds between two pauses: about a millisecond.
const SLICE_ROUNDS: u32 = 4_096;

/// The hash function under HMAC.
#[derive(Clone, Copy)]
pub(super) enum Prf {
    Sha1,
    Sha256,
    Sha512,
}

impl Prf {
    fn output_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A PBKDF2 hash within its bounds.
pub(super) struct Pbkdf2 {
    prf: Prf,
    rounds: u32,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

impl Pbkdf2 {
    /// Django: `rounds$salt$hash`; the salt is used as it is written.
    pub(super) fn django(
        form: &'static str,
        prf: Prf,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let [rounds, salt, hash] = fields(form, text)?;
        let expected = padded_base64(form, hash)?;
        whole(form, prf, &expected)?;
        let salt = salt.as_bytes().to_vec();
        Self::bounded(form, prf, number(form, rounds)?, salt, expected, bounds)
    }

    /// PHC, `i=rounds,l=length$salt$hash`, or passlib, `rounds$salt$hash`.
    pub(super) fn phc(
        form: &'static str,
        prf: Prf,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let [costs, salt, hash] = fields(form, text)?;
        let (salt, expected) = (adapted_base64(form, salt)?, adapted_base64(form, hash)?);
        let rounds = if costs.contains('=') {
            let [rounds, length] = parameters(form, costs, ["i", "l"])?;
            match length {
                Some(length) => as_named(form, length, &expected)?,
                None => whole(form, prf, &expected)?,
            }
            required(form, rounds)?
        } else {
            whole(form, prf, &expected)?;
            number(form, costs)?
        };
        Self::bounded(form, prf, rounds, salt, expected, bounds)
    }

    /// Whether the secret is the one that was hashed.
    pub(super) fn verify(&self, secret: &[u8], pace: &mut Pace<'_>) -> Result<bool, Unverified> {
        let derived = match self.prf {
            Prf::Sha1 => self.derive::<Sha1>(secret, pace),
            Prf::Sha256 => self.derive::<Sha256>(secret, pace),
            Prf::Sha512 => self.derive::<Sha512>(secret, pace),
        }?;
        Ok(derived.ct_eq(&self.expected).into())
    }

    /// The rounds, for people.
    pub(super) fn cost(&self) -> String {
        format!("{} rounds", self.rounds)
    }

    /// RFC 8018, section 5.2, with pauses.
    fn derive<D: EagerHash>(
        &self,
        secret: &[u8],
        pace: &mut Pace<'_>,
    ) -> Result<Vec<u8>, Unverified> {
        let prf = Hmac::<D>::new_from_slice(secret).expect("invariant: HMAC takes any key");
        let mut derived = vec![0; self.expected.len()];
        let output_len = self.prf.output_len();
        let total = u64::from(self.rounds) * derived.len().div_ceil(output_len) as u64;
        let mut done = 0;
        for (number, block) in (1_u32..).zip(derived.chunks_mut(output_len)) {
            let first = prf.clone().chain(&self.salt).chain(number.to_be_bytes());
            let mut last = first.finalize_fixed();
            add(block, &last);
            let mut left = self.rounds - 1;
            done += 1;
            while left > 0 {
                let slice = left.min(SLICE_ROUNDS);
                for _ in 0..slice {
                    last = prf.clone().chain(&last).finalize_fixed();
                    add(block, &last);
                }
                left -= slice;
                done += u64::from(slice);
                keep(pace, done, total)?;
            }
        }
        Ok(derived)
    }

    fn bounded(
        form: &'static str,
        prf: Prf,
        rounds: u64,
        salt: Vec<u8>,
        expected: Vec<u8>,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        // Every further block of output costs all the rounds again.
        let blocks = expected.len().div_ceil(prf.output_len()).max(1) as u64;
        within(form, "rounds", rounds, bounds.pbkdf2_rounds / blocks)?;
        let rounds =
            u32::try_from(rounds).map_err(|_| malformed(form, "its rounds exceed 32 bits"))?;
        Ok(Self { prf, rounds, salt, expected })
    }
}

/// Without a named length the output is all of the hash function's: a part of it is a hash that
/// was cut off, and would still match.
fn whole(form: &'static str, prf: Prf, expected: &[u8]) -> Result<(), VerifierError> {
    if expected.len() == prf.output_len() {
        Ok(())
    } else {
        Err(malformed(form, "its hash has not the length of the hash function's output"))
    }
}

fn as_named(form: &'static str, length: u64, expected: &[u8]) -> Result<(), VerifierError> {
    if !NAMED_OUTPUT_LEN.contains(&expected.len()) {
        return Err(malformed(form, "its hash has not 16 to 64 bytes"));
    }
    if length != expected.len() as u64 {
        return Err(malformed(form, "its hash has not the length that it names"));
    }
    Ok(())
}

#[inline]
fn add(block: &mut [u8], output: &[u8]) {
    block.iter_mut().zip(output).for_each(|(sum, byte)| *sum ^= byte);
}
