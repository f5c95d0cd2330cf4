//! scrypt: Django's and PHC's encodings.

use ::scrypt::Params;
use subtle::ConstantTimeEq;

use super::bounds::within;
use super::text::{base64, fields, malformed, number, padded_base64, parameters, required};
use super::{Bounds, VerifierError};

/// Output length of Django's, in bytes.
const DJANGO_OUTPUT_LEN: usize = 64;
/// Output lengths of PHC strings, in bytes. The output is a prefix of any longer one, so that a
/// hash cut off elsewhere would still match.
const PHC_OUTPUT_LENS: [usize; 2] = [32, 64];

/// An scrypt hash within its bounds.
pub(super) struct Scrypt {
    params: Params,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

impl Scrypt {
    /// Django: `N$salt$r$p$hash`; the salt is used as it is written.
    pub(super) fn django(
        form: &'static str,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let [n, salt, r, p, hash] = fields(form, text)?;
        let n = number(form, n)?;
        if n < 2 || !n.is_power_of_two() && n != u64::MAX {
            return Err(malformed(form, "its N is not a power of two"));
        }
        let params = params(form, n, number(form, r)?, number(form, p)?, bounds)?;
        let expected = padded_base64(form, hash)?;
        if expected.len() != DJANGO_OUTPUT_LEN {
            return Err(malformed(form, "its hash has not 64 bytes"));
        }
        Ok(Self { params, salt: salt.as_bytes().to_vec(), expected })
    }

    /// PHC: `ln=log2(N),r=r,p=p$salt$hash`.
    pub(super) fn phc(
        form: &'static str,
        text: &str,
        bounds: &Bounds,
    ) -> Result<Self, VerifierError> {
        let [costs, salt, hash] = fields(form, text)?;
        let [ln, r, p] = parameters(form, costs, ["ln", "r", "p"])?;
        let ln = required(form, ln)?;
        if ln == 0 {
            return Err(malformed(form, "its N is not a power of two"));
        }
        let n = u32::try_from(ln).ok().and_then(|ln| 1_u64.checked_shl(ln)).unwrap_or(u64::MAX);
        let params = params(form, n, required(form, r)?, required(form, p)?, bounds)?;
        let (salt, expected) = (base64(form, salt)?, base64(form, hash)?);
        if !PHC_OUTPUT_LENS.contains(&expected.len()) {
            return Err(malformed(form, "its hash has neither 32 nor 64 bytes"));
        }
        Ok(Self { params, salt, expected })
    }

    /// Whether the secret is the one that was hashed.
    pub(super) fn verify(&self, secret: &[u8]) -> bool {
        let mut derived = vec![0; self.expected.len()];
        ::scrypt::scrypt(secret, &self.salt, &self.params, &mut derived)
            .is_ok_and(|()| derived.ct_eq(&self.expected).into())
    }

    /// Bytes that it fills: 128 N r, and 128 r for each of p.
    pub(super) fn memory_bytes(&self) -> u64 {
        let block = 128 * u64::from(self.params.r());
        block * self.params.n() + block * u64::from(self.params.p())
    }

    /// The parameters, for people.
    pub(super) fn cost(&self) -> String {
        let (n, r, p) = (self.params.n(), self.params.r(), self.params.p());
        format!("N = {n}, r = {r}, p = {p}")
    }
}

fn params(
    form: &'static str,
    n: u64,
    r: u64,
    p: u64,
    bounds: &Bounds,
) -> Result<Params, VerifierError> {
    within(form, "block size (r)", r, bounds.scrypt_block_size)?;
    within(form, "parallelism (p)", p, bounds.scrypt_parallelism)?;
    let memory = n.saturating_mul(r).saturating_mul(128);
    within(form, "memory in bytes (128 N r)", memory, bounds.scrypt_memory_bytes)?;
    let invalid = || malformed(form, "its parameters are not scrypt's");
    let r = u32::try_from(r).map_err(|_| invalid())?;
    let p = u32::try_from(p).map_err(|_| invalid())?;
    // Bounds may be set wider than the product that scrypt itself allows.
    if r.checked_mul(p).is_none() {
        return Err(invalid());
    }
    Params::new(n.ilog2() as u8, r, p).map_err(|_| invalid())
}
