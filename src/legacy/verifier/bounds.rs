//! How costly a password hash may be before it is refused.

use super::VerifierError;

/// Most that a password hash may ask for. Whoever can import a hash chooses what it costs to
/// verify, so a hash beyond these is refused when it is read, before anything is allocated.
///
/// The default is four times what Django 4.2 to 5.2 makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rounds of PBKDF2, times the blocks of output that each needs.
    pub pbkdf2_rounds: u64,
    /// Memory of Argon2, in KiB.
    pub argon2_memory_kib: u64,
    /// Passes of Argon2 over its memory.
    pub argon2_passes: u64,
    /// Lanes of Argon2.
    pub argon2_lanes: u64,
    /// Cost of bcrypt, the binary logarithm of its rounds.
    pub bcrypt_cost: u64,
    /// Memory of scrypt, in bytes: 128 times N times r.
    pub scrypt_memory_bytes: u64,
    /// Block size of scrypt, r.
    pub scrypt_block_size: u64,
    /// Parallelism of scrypt, p: how often its memory is filled.
    pub scrypt_parallelism: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pbkdf2_rounds: 4 * 1_000_000,
            argon2_memory_kib: 4 * 100 * 1024,
            argon2_passes: 4 * 2,
            argon2_lanes: 4 * 8,
            bcrypt_cost: 12 + 2,
            scrypt_memory_bytes: 4 * 128 * 8 * (1 << 14),
            scrypt_block_size: 4 * 8,
            scrypt_parallelism: 4 * 5,
        }
    }
}

/// Lets a parameter from 1 to its bound through.
pub(super) fn within(
    form: &'static str,
    parameter: &'static str,
    given: u64,
    bound: u64,
) -> Result<u64, VerifierError> {
    if given == 0 {
        return Err(VerifierError::Zero { form, parameter });
    }
    if given > bound {
        return Err(VerifierError::TooCostly { form, parameter, given, bound });
    }
    Ok(given)
}
