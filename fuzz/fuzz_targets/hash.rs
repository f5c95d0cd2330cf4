//! Password hashes: read within their bounds, whatever they ask for, and never repeated. The
//! text `SALT` in an input stands for something that no message may hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::legacy::{Bounds, PasswordHash};

const MARKED: &str = "MARKEDMARKEDMARKEDMARK";

fuzz_target!(|text: &str| {
    let encoded = text.replace("SALT", MARKED);
    match PasswordHash::parse(&encoded, &Bounds::default()) {
        Ok(hash) => {
            assert!(!hash.form().is_empty());
            assert!(encoded.len() <= 1024);
            assert!(!format!("{hash:?}").contains("MARKED"));
            assert!(PasswordHash::parse(&encoded, &unbounded()).is_ok(), "more is allowed");
        }
        Err(why) => {
            assert!(!why.to_string().contains("MARKED"), "{why}");
            assert!(PasswordHash::parse(&encoded, &cheap()).is_err(), "less is allowed");
        }
    }
    django_s_form_of_a_phc_hash_is_the_same(&encoded);
    if let Ok(hash) = PasswordHash::parse(&encoded, &cheap()) {
        let verified = hash.verify(b"a secret");
        assert_eq!(verified, hash.verify(b"a secret"), "the same each time");
        // Nobody finds a second secret for the same hash.
        assert!(!verified || !hash.verify(b"another secret"));
    }
});

fn django_s_form_of_a_phc_hash_is_the_same(encoded: &str) {
    if encoded.starts_with("$argon2") && encoded.len() < 1000 {
        let phc = PasswordHash::parse(encoded, &Bounds::default());
        let django = PasswordHash::parse(&format!("argon2{encoded}"), &Bounds::default());
        assert_eq!(phc.is_ok(), django.is_ok(), "{encoded}");
    }
}

/// So little that each input can be verified.
fn cheap() -> Bounds {
    Bounds {
        pbkdf2_rounds: 8,
        argon2_memory_kib: 64,
        argon2_passes: 1,
        argon2_lanes: 2,
        bcrypt_cost: 4,
        scrypt_memory_bytes: 128 * 16,
        scrypt_block_size: 2,
        scrypt_parallelism: 2,
    }
}

fn unbounded() -> Bounds {
    Bounds {
        pbkdf2_rounds: u64::MAX,
        argon2_memory_kib: u64::MAX,
        argon2_passes: u64::MAX,
        argon2_lanes: u64::MAX,
        bcrypt_cost: u64::MAX,
        scrypt_memory_bytes: u64::MAX,
        scrypt_block_size: u64::MAX,
        scrypt_parallelism: u64::MAX,
    }
}
