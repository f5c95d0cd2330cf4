//! bcrypt in the modular crypt encoding, which Django prefixes with its hasher's name.

use blowfish::Blowfish;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::bounds::within;
use super::slices::keep;
use super::text::{bcrypt_base64, fields, malformed, number};
use super::{Bounds, Pace, Unverified, VerifierError};

/// Most bytes of a secret that bcrypt looks at.
const SECRET_LIMIT: usize = 72;
/// Least cost that bcrypt has.
const LEAST_COST: u64 = 4;
/// Greatest cost that bcrypt has, whatever the bounds say.
const GREATEST_COST: u64 = 31;
/// Characters of the salt, which the hash follows without a separator.
const SALT_CHARS: usize = 22;

/// Rounds between two pauses: about a millisecond.
const SLICE_ROUNDS: u64 = 16;
/// What is encrypted over and over under the derived key.
const PLAINTEXT: &[u8; 24] = b"OrpheanBeholderScryDoubt";
/// How often.
const ENCRYPTIONS: usize = 64;

/// What becomes of the secret before bcrypt sees it.
#[derive(Clone, Copy)]
pub(super) enum Prehash {
    /// Nothing.
    None,
    /// Its SHA-256 in lower-case hexadecimal, as Django's `bcrypt_sha256` does.
    Sha256Hex,
}

/// A bcrypt hash within its bounds.
pub(super) struct Bcrypt {
    prehash: Prehash,
    cost: u32,
    salt: [u8; 16],
    expected: [u8; 23],
}

impl Bcrypt {
    /// `$2b$cost$salthash`. 2a, 2b and 2y differ only by defects that their makers repaired.
    pub(super) fn crypt(
        form: &'static str,
        prehash: Prehash,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let ["", "2a" | "2b" | "2y", cost, body] = fields(form, text)? else {
            return Err(malformed(form, "its version is not 2a, 2b or 2y"));
        };
        if cost.len() < 2 {
            return Err(malformed(form, "its cost has not two digits"));
        }
        let cost = number(form, cost)?;
        within(form, "cost", cost, bounds.bcrypt_cost.min(GREATEST_COST))?;
        if cost < LEAST_COST {
            return Err(malformed(form, "its cost is less than 4"));
        }
        let (salt, hash) = body
            .split_at_checked(SALT_CHARS)
            .ok_or_else(|| malformed(form, "its salt is cut off"))?;
        let (salt, expected) = (bcrypt_base64(form, salt)?, bcrypt_base64(form, hash)?);
        Ok(Self { prehash, cost: cost as u32, salt, expected })
    }

    /// Whether the secret is the one that was hashed.
    pub(super) fn verify(&self, secret: &[u8], pace: &mut Pace<'_>) -> Result<bool, Unverified> {
        let derived = match self.prehash {
            Prehash::None => self.derive(secret, pace),
            Prehash::Sha256Hex => {
                let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(secret)));
                self.derive(Zeroizing::new(hex::encode(*digest)).as_bytes(), pace)
            }
        }?;
        Ok(derived[..self.expected.len()].ct_eq(&self.expected).into())
    }

    /// The cost, for people.
    pub(super) fn cost(&self) -> String {
        format!("cost {}", self.cost)
    }

    /// Hashes the secret and a closing NUL, cut off at 72 bytes in silence: so did the versions
    /// of Python's bcrypt that made these hashes. (From 5.0 on it refuses a longer secret.) A
    /// NUL inside is a byte like any other, as it is there.
    fn derive(&self, secret: &[u8], pace: &mut Pace<'_>) -> Result<[u8; 24], Unverified> {
        let mut input = Zeroizing::new([0; SECRET_LIMIT]);
        let len = secret.len().min(SECRET_LIMIT);
        input[..len].copy_from_slice(&secret[..len]);
        let key = &input[..(len + 1).min(SECRET_LIMIT)];
        Ok(encrypt(&self.expensive_key(key, pace)?))
    }

    /// "EksBlowfishSetup" of Provos and Mazières, "A Future-Adaptable Password Scheme", with
    /// pauses.
    fn expensive_key(&self, key: &[u8], pace: &mut Pace<'_>) -> Result<Blowfish, Unverified> {
        let mut state = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, key);
        let total = 1_u64 << self.cost;
        for done in 1..=total {
            state.bc_expand_key(key);
            state.bc_expand_key(&self.salt);
            if done % SLICE_ROUNDS == 0 {
                keep(pace, done, total)?;
            }
        }
        Ok(state)
    }
}

fn encrypt(state: &Blowfish) -> [u8; 24] {
    let mut output = *PLAINTEXT;
    for block in output.chunks_exact_mut(8) {
        let (left, right) = block.split_at_mut(4);
        let word = |bytes: &[u8]| {
            u32::from_be_bytes(bytes.try_into().expect("invariant: half of eight bytes"))
        };
        let mut words = [word(left), word(right)];
        for _ in 0..ENCRYPTIONS {
            words = state.bc_encrypt(words);
        }
        left.copy_from_slice(&words[0].to_be_bytes());
        right.copy_from_slice(&words[1].to_be_bytes());
    }
    output
}
