//! Why a password hash is refused, without a word of the hash.

/// Why a text is not a password hash that the slow lane verifies. Never holds any of the text
/// but the cost parameter that is out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// No encoded hash is this long.
    #[error("the password hash is longer than {limit} bytes, which no known form is")]
    TooLong {
        /// Most bytes that are read.
        limit: usize,
    },
    /// The beginning is that of no known form.
    #[error(
        "the password hash has no known form: expected PHC ($argon2id$, $argon2i$, $argon2d$, \
         $scrypt$, $pbkdf2-sha256$, $pbkdf2-sha512$, $pbkdf2$), bcrypt ($2a$, $2b$, $2y$) or \
         Django's (pbkdf2_sha256$, pbkdf2_sha1$, argon2$, bcrypt$, bcrypt_sha256$, scrypt$)"
    )]
    UnknownForm,
    /// The form is known, but not kept to.
    #[error("the {form} hash is malformed: {problem}; was it cut off when it was exported?")]
    Malformed {
        /// What its beginning says that it is.
        form: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A cost parameter of nothing.
    #[error("the {form} hash is malformed: its {parameter} must be at least 1")]
    Zero {
        /// What its beginning says that it is.
        form: &'static str,
        /// The parameter.
        parameter: &'static str,
    },
    /// A cost parameter beyond its bound.
    #[error(
        "the {form} hash costs too much to verify: its {parameter} is {given}, beyond the bound \
         of {bound}; give the token's owner a new token instead"
    )]
    TooCostly {
        /// What its beginning says that it is.
        form: &'static str,
        /// The parameter, with its unit.
        parameter: &'static str,
        /// What it asks for; the largest `u64` also stands for anything larger.
        given: u64,
        /// Most that is accepted.
        bound: u64,
    },
}

/// Why a hash was not computed to its end: neither a match nor a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The memory that it needs could not be had.
    #[error("the memory that the password hash needs could not be allocated")]
    OutOfMemory,
    /// It was stopped between two slices.
    #[error("the password hash was stopped on the way")]
    Stopped,
}
