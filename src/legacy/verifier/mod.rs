//! Password hashes that a legacy token may be known by: read with care, verified slowly.
//!
//! [`PasswordHash::parse`] turns an encoded hash into one that can be verified, or says why not.
//! There is no parsed hash beyond its [`Bounds`], so verifying one takes a known time at most.

mod argon2;
mod bcrypt;
mod bounds;
mod error;
mod pbkdf2;
mod scrypt;
mod slices;
mod text;

pub use bounds::Bounds;
pub use error::{Unverified, VerifierError};
pub use slices::{Pace, Progress, without_pause};

use std::fmt;

use ::argon2::Algorithm;

use self::argon2::Argon2;
use self::bcrypt::{Bcrypt, Prehash};
use self::pbkdf2::{Pbkdf2, Prf};
use self::scrypt::Scrypt;

/// Most bytes that an encoded hash may have. The longest that anything makes is about 250.
const ENCODED_LIMIT: usize = 1024;

/// A password hash that was understood and is within its bounds.
///
/// Forms: PHC (`$argon2id$`, `$argon2i$`, `$argon2d$`, `$scrypt$`, `$pbkdf2-sha256$`,
/// `$pbkdf2-sha512$`, `$pbkdf2$` and `$pbkdf2-sha1$`, the last four also as passlib writes
/// them), bcrypt (`$2a$`, `$2b$`, `$2y$`) and Django's (`pbkdf2_sha256$`, `pbkdf2_sha1$`,
/// `argon2$`, `bcrypt$`, `bcrypt_sha256$`, `scrypt$`).
pub struct PasswordHash {
    form: &'static str,
    scheme: Scheme,
}

enum Scheme {
    Pbkdf2(Pbkdf2),
    Argon2(Argon2),
    Bcrypt(Bcrypt),
    Scrypt(Scrypt),
}

impl PasswordHash {
    /// Reads an encoded hash. Allocates no more than its text is long, whatever it asks for.
    ///
    /// # Errors
    /// [`VerifierError`]: not a known form, malformed or cut off, or beyond `bounds`; says what
    /// and where, and never what the hash is.
    pub fn parse(encoded: &str, bounds: &Bounds) -> Result<Self, VerifierError> {
        if encoded.len() > ENCODED_LIMIT {
            return Err(VerifierError::TooLong { limit: ENCODED_LIMIT });
        }
        let (form, scheme) = match encoded.strip_prefix('$') {
            Some(rest) => phc_or_crypt(encoded, rest, bounds),
            None => django(encoded, bounds),
        }?;
        Ok(Self { form, scheme })
    }

    /// Whether the secret is the one that was hashed; compares in constant time. Takes as long
    /// as the hash asks for, and as much memory: not for a thread that others wait for.
    ///
    /// Where the memory cannot be had this is `false`; [`Self::verify_paced`] tells the two apart.
    pub fn verify(&self, secret: &[u8]) -> bool {
        self.verify_paced(secret, &mut without_pause).unwrap_or(false)
    }

    /// Like [`Self::verify`], asking `pace` about every millisecond whether to go on. Argon2 and
    /// scrypt are computed in one go.
    ///
    /// # Errors
    /// [`Unverified`], which says nothing about the secret.
    pub fn verify_paced(&self, secret: &[u8], pace: &mut Pace<'_>) -> Result<bool, Unverified> {
        match &self.scheme {
            Scheme::Pbkdf2(hash) => hash.verify(secret, pace),
            Scheme::Argon2(hash) => hash.verify(secret),
            Scheme::Bcrypt(hash) => hash.verify(secret, pace),
            Scheme::Scrypt(hash) => Ok(hash.verify(secret)),
        }
    }

    /// Bytes that verifying takes besides a few KiB: what memory-hard hashes ask for.
    pub fn memory_bytes(&self) -> u64 {
        match &self.scheme {
            Scheme::Argon2(hash) => hash.memory_bytes(),
            Scheme::Scrypt(hash) => hash.memory_bytes(),
            Scheme::Pbkdf2(_) | Scheme::Bcrypt(_) => 0,
        }
    }

    /// What verifying costs, by the hash's own parameters, for people.
    pub fn cost(&self) -> String {
        match &self.scheme {
            Scheme::Pbkdf2(hash) => hash.cost(),
            Scheme::Argon2(hash) => hash.cost(),
            Scheme::Bcrypt(hash) => hash.cost(),
            Scheme::Scrypt(hash) => hash.cost(),
        }
    }

    /// What kind of hash it is, for reports: not a secret.
    pub fn form(&self) -> &'static str {
        self.form
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({}, redacted)", self.form)
    }
}

type Parsed = Result<(&'static str, Scheme), VerifierError>;

fn phc_or_crypt(encoded: &str, rest: &str, bounds: &Bounds) -> Parsed {
    let (name, text) = rest.split_once('$').ok_or(VerifierError::UnknownForm)?;
    match name {
        "argon2id" => argon2("argon2id", Algorithm::Argon2id, text, bounds),
        "argon2i" => argon2("argon2i", Algorithm::Argon2i, text, bounds),
        "argon2d" => argon2("argon2d", Algorithm::Argon2d, text, bounds),
        "scrypt" => Ok(("scrypt", Scheme::Scrypt(Scrypt::phc("scrypt", text, bounds)?))),
        "pbkdf2" => pbkdf2("pbkdf2", Prf::Sha1, text, bounds),
        "pbkdf2-sha1" => pbkdf2("pbkdf2-sha1", Prf::Sha1, text, bounds),
        "pbkdf2-sha256" => pbkdf2("pbkdf2-sha256", Prf::Sha256, text, bounds),
        "pbkdf2-sha512" => pbkdf2("pbkdf2-sha512", Prf::Sha512, text, bounds),
        "2a" | "2b" | "2y" => bcrypt("bcrypt", Prehash::None, encoded, bounds),
        _ => Err(VerifierError::UnknownForm),
    }
}

fn django(encoded: &str, bounds: &Bounds) -> Parsed {
    let (name, text) = encoded.split_once('$').ok_or(VerifierError::UnknownForm)?;
    match name {
        "pbkdf2_sha256" => django_pbkdf2("Django pbkdf2_sha256", Prf::Sha256, text, bounds),
        "pbkdf2_sha1" => django_pbkdf2("Django pbkdf2_sha1", Prf::Sha1, text, bounds),
        "argon2" => django_argon2(text, bounds),
        "bcrypt" => bcrypt("Django bcrypt", Prehash::None, text, bounds),
        "bcrypt_sha256" => bcrypt("Django bcrypt_sha256", Prehash::Sha256Hex, text, bounds),
        "scrypt" => {
            let form = "Django scrypt";
            Ok((form, Scheme::Scrypt(Scrypt::django(form, text, bounds)?)))
        }
        _ => Err(VerifierError::UnknownForm),
    }
}

fn django_argon2(text: &str, bounds: &Bounds) -> Parsed {
    let form = "Django argon2";
    let (name, text) =
        text.split_once('$').ok_or_else(|| text::malformed(form, "it has too few fields"))?;
    let algorithm = match name {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return Err(text::malformed(form, "it is not argon2id, argon2i or argon2d")),
    };
    argon2(form, algorithm, text, bounds)
}

fn argon2(form: &'static str, algorithm: Algorithm, text: &str, bounds: &Bounds) -> Parsed {
    Ok((form, Scheme::Argon2(Argon2::phc(form, algorithm, text, bounds)?)))
}

fn bcrypt(form: &'static str, prehash: Prehash, text: &str, bounds: &Bounds) -> Parsed {
    Ok((form, Scheme::Bcrypt(Bcrypt::crypt(form, prehash, text, bounds)?)))
}

fn pbkdf2(form: &'static str, prf: Prf, text: &str, bounds: &Bounds) -> Parsed {
    Ok((form, Scheme::Pbkdf2(Pbkdf2::phc(form, prf, text, bounds)?)))
}

fn django_pbkdf2(form: &'static str, prf: Prf, text: &str, bounds: &Bounds) -> Parsed {
    Ok((form, Scheme::Pbkdf2(Pbkdf2::django(form, prf, text, bounds)?)))
}

#[cfg(test)]
mod tests;
