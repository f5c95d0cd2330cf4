//! Argon2 in the PHC encoding, which Django prefixes with `argon2`.

use ::argon2::{Algorithm, Argon2 as Context, Error, Params, Version};
use subtle::ConstantTimeEq;

use super::bounds::within;
use super::text::{base64, malformed, number, parameters, required};
use super::{Bounds, Unverified, VerifierError};

/// Output lengths, in bytes: any shorter could be guessed, none longer is made.
const OUTPUT_LEN: std::ops::RangeInclusive<usize> = 16..=64;
/// Salt lengths, in bytes: Argon2's own least, and more than anything makes.
const SALT_LEN: std::ops::RangeInclusive<usize> = 8..=128;

/// An Argon2 hash within its bounds.
pub(super) struct Argon2 {
    context: Context<'static>,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

impl Argon2 {
    /// `v=version$m=kib,t=passes,p=lanes$salt$hash`; without a version it is the first, 16.
    pub(super) fn phc(
        form: &'static str,
        algorithm: Algorithm,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let (version, costs, salt, hash) = split(form, text)?;
        let (salt, expected) = (base64(form, salt)?, base64(form, hash)?);
        if !SALT_LEN.contains(&salt.len()) {
            return Err(malformed(form, "its salt has not 8 to 128 bytes"));
        }
        if !OUTPUT_LEN.contains(&expected.len()) {
            return Err(malformed(form, "its hash has not 16 to 64 bytes"));
        }
        let params = params(form, costs, expected.len(), bounds)?;
        Ok(Self { context: Context::new(algorithm, version, params), salt, expected })
    }

    /// Whether the secret is the one that was hashed.
    pub(super) fn verify(&self, secret: &[u8]) -> Result<bool, Unverified> {
        let mut derived = vec![0; self.expected.len()];
        match self.context.hash_password_into(secret, &self.salt, &mut derived) {
            Ok(()) => Ok(derived.ct_eq(&self.expected).into()),
            Err(Error::OutOfMemory) => Err(Unverified::OutOfMemory),
            // Lengths of salt and output were checked; what is left is a secret of 4 GiB.
            Err(_) => Ok(false),
        }
    }

    /// Bytes that it fills.
    pub(super) fn memory_bytes(&self) -> u64 {
        u64::from(self.context.params().m_cost()) * 1024
    }

    /// The parameters, for people.
    pub(super) fn cost(&self) -> String {
        let params = self.context.params();
        format!("{} KiB, {} passes, {} lanes", params.m_cost(), params.t_cost(), params.p_cost())
    }
}

fn split<'a>(
    form: &'static str,
    text: &'a str,
) -> Result<(Version, &'a str, &'a str, &'a str), VerifierError> {
    let fields: Vec<&str> = text.split('$').collect();
    match fields[..] {
        [version, costs, salt, hash] => Ok((known_version(form, version)?, costs, salt, hash)),
        [costs, salt, hash] => Ok((Version::V0x10, costs, salt, hash)),
        _ => Err(malformed(form, "it has not the fields version, parameters, salt and hash")),
    }
}

fn known_version(form: &'static str, text: &str) -> Result<Version, VerifierError> {
    let version = text.strip_prefix("v=").map(|version| number(form, version)).transpose()?;
    match version {
        Some(16) => Ok(Version::V0x10),
        Some(19) => Ok(Version::V0x13),
        _ => Err(malformed(form, "its version is neither 16 nor 19")),
    }
}

fn params(
    form: &'static str,
    costs: &str,
    output_len: usize,
    bounds: &Bounds,
) -> Result<Params, VerifierError> {
    let [memory, passes, lanes] = parameters(form, costs, ["m", "t", "p"])?;
    let bounded = |parameter, value, bound| {
        let value = within(form, parameter, required(form, value)?, bound)?;
        u32::try_from(value).map_err(|_| malformed(form, "a parameter exceeds 32 bits"))
    };
    let memory = bounded("memory in KiB (m)", memory, bounds.argon2_memory_kib)?;
    let passes = bounded("passes (t)", passes, bounds.argon2_passes)?;
    let lanes = bounded("lanes (p)", lanes, bounds.argon2_lanes)?;
    if u64::from(memory) < 8 * u64::from(lanes) {
        return Err(malformed(form, "its memory is less than 8 KiB a lane"));
    }
    Params::new(memory, passes, lanes, Some(output_len))
        .map_err(|_| malformed(form, "its parameters are not Argon2's"))
}
