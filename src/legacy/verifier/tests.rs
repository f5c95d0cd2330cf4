use std::ops::ControlFlow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD as NO_PAD};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const TOKENS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/django/tokens.jsonl"));
const SECRETS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/django/secrets.json"));
const OTHERS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/django/others.json"));

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Name, secret and hash of what Django made.
fn django_fixtures() -> Vec<(String, String, String)> {
    let secrets: Value = serde_json::from_str(SECRETS).unwrap();
    let lines = TOKENS.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let name = text(&line["name"]);
            (name.clone(), text(&secrets[&name]), text(&line["hash"]))
        })
        .collect()
}

/// Name, secret and hash of what other libraries made.
fn other_fixtures() -> Vec<(String, String, String)> {
    let others: Vec<Value> = serde_json::from_str(OTHERS).unwrap();
    others
        .iter()
        .map(|line| (text(&line["name"]), text(&line["secret"]), text(&line["hash"])))
        .collect()
}

fn parse(encoded: &str) -> Result<PasswordHash, VerifierError> {
    PasswordHash::parse(encoded, &Bounds::default())
}

#[test]
fn every_hasher_of_django_is_verified_and_a_wrong_secret_is_not() {
    let fixtures = django_fixtures();
    assert_eq!(fixtures.len(), 6);
    // Side by side, since a build without optimisation takes seconds for some of them.
    std::thread::scope(|scope| {
        for (name, secret, encoded) in &fixtures {
            let hash = parse(encoded).unwrap();
            scope.spawn(move || {
                assert!(hash.verify(secret.as_bytes()), "{name}");
                assert!(!hash.verify(&secret.as_bytes()[..39]), "{name}");
            });
        }
    });
}

#[test]
fn hashes_of_other_libraries_are_verified_and_a_wrong_secret_is_not() {
    for (name, secret, encoded) in other_fixtures() {
        let hash = parse(&encoded).unwrap();
        assert!(hash.verify(secret.as_bytes()), "{name}");
        assert!(!hash.verify(&secret.as_bytes()[1..]), "{name}");
        assert!(!hash.verify(b""), "{name}");
    }
}

#[test]
fn a_truncated_hash_is_refused_or_does_not_match() {
    for (name, secret, encoded) in other_fixtures() {
        for kept in 1..encoded.len() {
            let matched = parse(&encoded[..kept]).is_ok_and(|hash| hash.verify(secret.as_bytes()));
            assert!(!matched, "{name} cut to {kept}");
        }
    }
    for (name, secret, encoded) in django_fixtures() {
        for cut in [2, 3, 6, 24, 44] {
            let kept = &encoded[..encoded.len() - cut];
            let matched = parse(kept).is_ok_and(|hash| hash.verify(secret.as_bytes()));
            assert!(!matched, "{name} without its last {cut}");
        }
    }
}

#[test]
fn a_phc_pbkdf2_hash_names_its_length_and_keeps_to_it() {
    // RFC 7914, section 11: PBKDF2-HMAC-SHA-256 of "passwd" with "salt", 1 round, 64 bytes.
    let encoded = "$pbkdf2-sha256$i=1,l=64$c2FsdA$\
        VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkWZLOdd+8xfHG4RbHjC9UJESBB06G\
        Xgw";
    let hash = parse(encoded).unwrap();
    assert!(hash.verify(b"passwd"));
    assert!(!hash.verify(b"password"));
    assert_eq!(
        parse(&encoded.replace("l=64", "l=32")).unwrap_err(),
        text::malformed("pbkdf2-sha256", "its hash has not the length that it names")
    );
    assert!(parse(&encoded.replace(",l=64", "")).is_err());
}

#[test]
fn argon2_without_a_version_is_the_first_version() {
    let (_, secret, encoded) =
        other_fixtures().into_iter().find(|(name, ..)| name.ends_with("version 16")).unwrap();
    let hash = parse(&encoded.replace("$v=16", "")).unwrap();
    assert!(hash.verify(secret.as_bytes()));
}

#[test]
fn bcrypt_takes_a_nul_as_a_byte_and_looks_at_72_bytes() {
    // Made with Python's bcrypt: hashpw(b"abc\0def", b"$2b$04$......................").
    let hash = parse("$2b$04$......................yMxku2phakTL3ry2owsTvKAr3PbEghe").unwrap();
    assert!(hash.verify(b"abc\0def"));
    assert!(!hash.verify(b"abc"));
    assert!(!hash.verify(b"abc\0"));
    // The same of 73 times "x", with a version that does not refuse it.
    let long = parse("$2b$04$......................SZFhVdUK5wGKY4lx/QrgUMHG0XsWjbi").unwrap();
    assert!(long.verify(&[b'x'; 73]));
    assert!(long.verify(&[b'x'; 72]));
    assert!(!long.verify(&[b'x'; 71]));
}

const HASH_32: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BCRYPT_BODY: &str = "......................yMxku2phakTL3ry2owsTvKAr3PbEghe";

fn hash_64() -> String {
    format!("{}==", "A".repeat(86))
}

#[test]
fn four_times_what_django_makes_is_accepted() {
    for encoded in [
        format!("pbkdf2_sha256$4000000$salt${HASH_32}="),
        format!("argon2$argon2id$v=19$m=409600,t=2,p=32$c29tZXNhbHQ${HASH_32}"),
        format!("argon2$argon2id$v=19$m=102400,t=8,p=8$c29tZXNhbHQ${HASH_32}"),
        format!("bcrypt$$2b$14${BCRYPT_BODY}"),
        format!("scrypt$65536$salt$8$5${}", hash_64()),
        format!("scrypt$16384$salt$8$20${}", hash_64()),
        format!("$scrypt$ln=16,r=8,p=1$c29tZXNhbHQ${HASH_32}"),
    ] {
        assert!(parse(&encoded).is_ok(), "{encoded}");
    }
}

#[test]
fn a_hash_beyond_the_bounds_is_refused_by_parameter_and_bound() {
    let ten_gib = 10 * 1024 * 1024;
    for (encoded, parameter, bound) in [
        (format!("pbkdf2_sha256$4000001$salt${HASH_32}="), "rounds", 4_000_000),
        (format!("pbkdf2_sha256$1000000000$salt${HASH_32}="), "rounds", 4_000_000),
        (format!("$pbkdf2-sha256$99999999999999999999$AAAA${HASH_32}"), "rounds", 4_000_000),
        (
            format!("$argon2id$v=19$m={ten_gib},t=2,p=8$c29tZXNhbHQ${HASH_32}"),
            "memory in KiB (m)",
            409_600,
        ),
        (format!("$argon2id$v=19$m=1024,t=9,p=8$c29tZXNhbHQ${HASH_32}"), "passes (t)", 8),
        (format!("$argon2id$v=19$m=1024,t=1,p=33$c29tZXNhbHQ${HASH_32}"), "lanes (p)", 32),
        (format!("$2b$15${BCRYPT_BODY}"), "cost", 14),
        (format!("scrypt$131072$salt$8$1${}", hash_64()), "memory in bytes (128 N r)", 67_108_864),
        (format!("scrypt$2$salt$262144$1${}", hash_64()), "block size (r)", 32),
        (format!("scrypt$2$salt$8$21${}", hash_64()), "parallelism (p)", 20),
        (
            format!("$scrypt$ln=99,r=8,p=1$c29tZXNhbHQ${HASH_32}"),
            "memory in bytes (128 N r)",
            67_108_864,
        ),
    ] {
        let error = parse(&encoded).unwrap_err();
        assert!(
            matches!(error, VerifierError::TooCostly { parameter: named, bound: limit, .. }
                if named == parameter && limit == bound),
            "{encoded}: {error}"
        );
    }
}

#[test]
fn errors_and_debug_show_nothing_of_the_hash() {
    let encoded = format!("pbkdf2_sha256$1$saltsalt${HASH_32}=");
    let shown = format!("{:?}", parse(&encoded).unwrap());
    assert_eq!(shown, "PasswordHash(Django pbkdf2_sha256, redacted)");
    for wrong in ["pbkdf2_sha256$1$saltsalt$cut", "md5$saltsalt$cut", "pbkdf2_sha256$x$saltsalt$"] {
        let error = parse(wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("saltsalt"), "{error}");
        assert!(!error.to_string().contains("cut$"), "{error}");
    }
}

#[test]
fn degenerate_parameters_are_refused() {
    for encoded in [
        String::new(),
        "$".to_owned(),
        "$$$$$$".to_owned(),
        "a".repeat(2000),
        format!("pbkdf2_sha256$0$salt${HASH_32}="),
        format!("pbkdf2_sha256$-1$salt${HASH_32}="),
        format!("pbkdf2_sha256$1$salt${HASH_32}=$more"),
        "$pbkdf2-sha256$i=1,l=0$c2FsdA$".to_owned(),
        format!("$pbkdf2-sha256$i=1,i=1$c2FsdA${HASH_32}"),
        format!("$pbkdf2-sha256$l=32$c2FsdA${HASH_32}"),
        format!("$argon2id$v=20$m=1024,t=1,p=1$c29tZXNhbHQ${HASH_32}"),
        format!("$argon2id$v=19$m=1024,t=0,p=1$c29tZXNhbHQ${HASH_32}"),
        format!("$argon2id$v=19$m=8,t=1,p=2$c29tZXNhbHQ${HASH_32}"),
        format!("$argon2id$v=19$m=1024,t=1,p=1,keyid=1$c29tZXNhbHQ${HASH_32}"),
        format!("$argon2id$v=19$m=1024,t=1,p=1$AA${HASH_32}"),
        "$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned(),
        format!("argon2$argon2x$v=19$m=1024,t=1,p=1$c29tZXNhbHQ${HASH_32}"),
        format!("scrypt$1000$salt$8$1${}", hash_64()),
        format!("scrypt$1$salt$8$1${}", hash_64()),
        format!("scrypt$2$salt$0$1${}", hash_64()),
        format!("scrypt$2$salt$1$1${HASH_32}"),
        format!("$scrypt$ln=0,r=8,p=1$c29tZXNhbHQ${HASH_32}"),
        format!("$2x$04${BCRYPT_BODY}"),
        format!("$2b$03${BCRYPT_BODY}"),
        format!("$2b$4${BCRYPT_BODY}"),
        "$2b$04$\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}x".to_owned(),
    ] {
        assert!(parse(&encoded).is_err(), "{encoded}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(encoded in any::<String>()) {
        let _ = parse(&encoded);
    }

    #[test]
    fn no_text_after_a_known_beginning_makes_parsing_panic(
        beginning in prop::sample::select(vec![
            "$argon2id$", "$scrypt$", "$pbkdf2-sha256$", "$pbkdf2$", "$2b$", "pbkdf2_sha256$",
            "argon2$argon2id$", "bcrypt$$2b$", "bcrypt_sha256$", "scrypt$", "argon2$",
        ]),
        rest in "([$,=.0-9a-z]|v=19|m=|ln=|\\PC){0,60}",
    ) {
        let _ = parse(&format!("{beginning}{rest}"));
    }

    #[test]
    fn no_parameters_make_parsing_panic_or_allocate(
        a in any::<u64>(), b in any::<u64>(), c in any::<u64>(),
    ) {
        let wide = Bounds {
            pbkdf2_rounds: u64::MAX,
            argon2_memory_kib: u64::MAX,
            argon2_passes: u64::MAX,
            argon2_lanes: u64::MAX,
            bcrypt_cost: u64::MAX,
            scrypt_memory_bytes: u64::MAX,
            scrypt_block_size: u64::MAX,
            scrypt_parallelism: u64::MAX,
        };
        for bounds in [Bounds::default(), wide] {
            for encoded in [
                format!("$argon2id$v=19$m={a},t={b},p={c}$c29tZXNhbHQ${HASH_32}"),
                format!("scrypt${a}$salt${b}${c}${}", hash_64()),
                format!("$scrypt$ln={},r={b},p={c}$c29tZXNhbHQ${HASH_32}", a % 70),
                format!("$scrypt$ln=1,r={},p={}$c29tZXNhbHQ${HASH_32}", b >> 32, c >> 32),
                format!("pbkdf2_sha256${a}$salt${HASH_32}="),
                format!("$2b${}${BCRYPT_BODY}", a % 100),
            ] {
                let _ = PasswordHash::parse(&encoded, &bounds);
            }
        }
    }
}

/// Every pause, and what comes of stopping at the first.
fn pauses(encoded: &str, secret: &[u8]) -> (Vec<Progress>, bool, Result<bool, Unverified>) {
    let hash = parse(encoded).unwrap();
    let mut seen = Vec::new();
    let matched = hash.verify_paced(secret, &mut |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    });
    let stopped = hash.verify_paced(secret, &mut |_| ControlFlow::Break(()));
    (seen, matched.unwrap(), stopped)
}

#[test]
fn pbkdf2_and_bcrypt_are_computed_in_slices_and_can_be_stopped_between_them() {
    let secret = b"0123456789abcdef";
    let mut derived = [0; 32];
    ::pbkdf2::pbkdf2_hmac::<sha2::Sha256>(secret, b"salt", 10_000, &mut derived);
    let pbkdf2 = format!("pbkdf2_sha256$10000$salt${}", STANDARD.encode(derived));
    let (seen, matched, stopped) = pauses(&pbkdf2, secret);
    assert!(matched);
    assert_eq!(seen.iter().map(|progress| progress.done).collect::<Vec<_>>(), [4097, 8193]);
    assert!(seen.iter().all(|progress| progress.total == 10_000));
    assert_eq!(stopped, Err(Unverified::Stopped));

    let bcrypt = ::bcrypt::hash(secret, 6).unwrap();
    let (seen, matched, stopped) = pauses(&bcrypt, secret);
    assert!(matched);
    assert_eq!(seen.iter().map(|progress| progress.done).collect::<Vec<_>>(), [16, 32, 48]);
    assert_eq!(stopped, Err(Unverified::Stopped));
}

#[test]
fn cost_and_memory_are_those_that_the_hash_names() {
    for (encoded, cost, memory) in [
        (format!("pbkdf2_sha256$1000000$salt${HASH_32}="), "1000000 rounds", 0),
        (format!("bcrypt$$2b$12${BCRYPT_BODY}"), "cost 12", 0),
        (
            format!("argon2$argon2id$v=19$m=102400,t=2,p=8$c29tZXNhbHQ${HASH_32}"),
            "102400 KiB, 2 passes, 8 lanes",
            100 << 20,
        ),
        (
            format!("scrypt$16384$salt$8$5${}", hash_64()),
            "N = 16384, r = 8, p = 5",
            (16 << 20) + 5 * 1024,
        ),
    ] {
        let hash = parse(&encoded).unwrap();
        assert_eq!((hash.cost().as_str(), hash.memory_bytes()), (cost, memory));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn slices_make_no_difference(
        secret in prop::collection::vec(any::<u8>(), 0..200), salt in "[a-zA-Z0-9]{1,40}", rounds in 1_u32..9000,
    ) {
        let mut derived = [0; 64];
        let phc = |name: &str, derived: &[u8]| {
            let (salt, hash) = (NO_PAD.encode(&salt), NO_PAD.encode(derived));
            format!("${name}$i={rounds},l={}${salt}${hash}", derived.len())
        };
        // Two blocks and more of SHA-1, two of SHA-256, one of SHA-512.
        ::pbkdf2::pbkdf2_hmac::<sha1::Sha1>(&secret, salt.as_bytes(), rounds, &mut derived);
        prop_assert!(parse(&phc("pbkdf2-sha1", &derived)).unwrap().verify(&secret));
        ::pbkdf2::pbkdf2_hmac::<sha2::Sha256>(&secret, salt.as_bytes(), rounds, &mut derived);
        prop_assert!(parse(&phc("pbkdf2-sha256", &derived)).unwrap().verify(&secret));
        ::pbkdf2::pbkdf2_hmac::<sha2::Sha512>(&secret, salt.as_bytes(), rounds, &mut derived);
        prop_assert!(parse(&phc("pbkdf2-sha512", &derived)).unwrap().verify(&secret));
        derived[0] ^= 1;
        prop_assert!(!parse(&phc("pbkdf2-sha512", &derived)).unwrap().verify(&secret));
    }

    #[test]
    fn bcrypt_is_the_one_of_the_crate_of_that_name(secret in "[!-~]{0,72}", cost in 4_u32..6) {
        let encoded = ::bcrypt::hash(&secret, cost).unwrap();
        let hash = parse(&encoded).unwrap();
        prop_assert!(hash.verify(secret.as_bytes()));
        let longer = format!("x{secret}");
        let repeats = longer.len() > 72 && secret.bytes().all(|byte| byte == b'x');
        prop_assert_eq!(hash.verify(longer.as_bytes()), repeats);
    }
}
