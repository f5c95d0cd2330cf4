//! Canonical paths: whatever is accepted stays as it is when it is normalised, and has nothing in
//! it that two parsers could read differently.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::core::path::{Allowed, check};

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the forms that are let through.
    let Some((choice, path)) = bytes.split_first() else { return };
    let Ok(path) = str::from_utf8(path) else { return };
    let forms: Vec<String> = Allowed::FORMS
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| choice >> bit & 1 == 1)
        .map(|(_, form)| form.to_owned())
        .collect();
    let allowed = Allowed::parse(&forms).unwrap();
    let twice = is_encoded_twice(path);
    let strictly = check(path, Allowed::default());
    assert_eq!(strictly.is_ok(), is_canonical(path), "{path:?}");
    if strictly.is_ok() {
        assert_eq!(normalised(path), path);
        assert_eq!(check(path, allowed).unwrap().is_none(), !twice);
    }
    if let Ok(found) = check(path, allowed) {
        assert_eq!(found.is_none(), strictly.is_ok() && !twice);
        has_only_what_was_let_through(path, &forms);
    }
});

/// The rules one by one, over and over.
fn is_canonical(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| (0x21..0x7f).contains(&byte))
        && !path.contains(['\\', ';', '#'])
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
        && path.split('%').skip(1).all(|rest| encoded(rest).is_some_and(needs_encoding))
}

/// Whether something stands there that is encoded still once it was decoded.
fn is_encoded_twice(path: &str) -> bool {
    path.split("%25").skip(1).any(|rest| encoded(rest).is_some())
}

fn encoded(rest: &str) -> Option<u8> {
    let digits = rest.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Neither unreserved (RFC 3986 section 2.3) nor something that parsers stumble over.
fn needs_encoding(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"-._~/\\\0".contains(&byte))
}

/// RFC 3986 section 6.2.2, and with empty segments taken out: unreserved characters decoded, dot
/// segments removed.
fn normalised(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let number =
            (*byte == b'%').then(|| str::from_utf8(after).ok().and_then(encoded)).flatten();
        match number {
            Some(number) if !needs_encoding(number) => {
                decoded.push(number);
                rest = &after[2..];
            }
            _ => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    let decoded = String::from_utf8(decoded).unwrap().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = decoded.split('/').skip(1).peekable();
    while let Some(segment) = parts.next() {
        let last = parts.peek().is_none();
        match segment {
            ".." => drop(segments.pop()),
            "." => {}
            "" if !last => {}
            other => segments.push(other),
        }
        if last && matches!(segment, "." | "..") {
            segments.push("");
        }
    }
    format!("/{}", segments.join("/"))
}

fn has_only_what_was_let_through(path: &str, forms: &[String]) {
    let upper = path.to_ascii_uppercase();
    for form in Allowed::FORMS {
        assert!(!upper.contains(form) || forms.iter().any(|known| known == form), "{path:?}");
    }
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{path:?}");
    assert!(!path.contains('#') && path.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
    assert!(!upper.contains("%00") && !upper.contains("%2E"), "{path:?}");
}
