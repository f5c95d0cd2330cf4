//! Which request paths are canonical. A path that two parsers could read differently is refused,
//! never repaired: what was authorised is then what the upstream sees.

/// Path forms that `[gate] allow_in_path` lets through to routes without captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub(crate) u8);

impl Allowed {
    pub(crate) const DOUBLE_SLASH: u8 = 1;
    pub(crate) const SEMICOLON: u8 = 2;
    pub(crate) const ENCODED_SLASH: u8 = 4;
    pub(crate) const ENCODED_BACKSLASH: u8 = 8;
    pub(crate) const BACKSLASH: u8 = 16;
    /// `%25` and two hexadecimal digits: what decodes twice sees another character. It is not to be
    /// allowed by name, since it stands for what it says wherever no capture holds it.
    pub(crate) const ENCODED_TWICE: u8 = 32;

    /// The forms that can be let through.
    pub const FORMS: [&'static str; 5] = ["//", ";", "%2F", "%5C", "\\"];

    /// Reads the forms as configured: `//`, `;`, `%2F`, `%5C` and `\`.
    ///
    /// # Errors
    /// The first form that is none of these.
    pub fn parse(forms: &[String]) -> Result<Self, String> {
        forms.iter().try_fold(Self::default(), |allowed, form| {
            let bit = match form.to_ascii_uppercase().as_str() {
                "//" => Self::DOUBLE_SLASH,
                ";" => Self::SEMICOLON,
                "%2F" => Self::ENCODED_SLASH,
                "%5C" => Self::ENCODED_BACKSLASH,
                "\\" => Self::BACKSLASH,
                _ => return Err(form.clone()),
            };
            Ok(Self(allowed.0 | bit))
        })
    }

    /// Whether nothing out of the ordinary was found or is let through.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not of the form `/…`.
    #[error("the request target is not a path")]
    NotAPath,
    /// A `.` or `..` segment.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// `//`.
    #[error("the path has an empty segment (`//`)")]
    DoubleSlash,
    /// `\`, `;`, `#`, a control or a byte that is not ASCII.
    #[error(
        "the path has a byte that parsers read differently: `\\`, `;`, `#`, a control or non-ASCII"
    )]
    Byte,
    /// `%` without two hexadecimal digits.
    #[error("the path has a `%` without two hexadecimal digits")]
    InvalidEncoding,
    /// A percent-encoded character that needs none, or a slash, backslash or NUL.
    #[error("the path percent-encodes an unreserved character, `/`, `\\` or NUL")]
    NeedlessEncoding,
}

/// What a byte of a path asks for: nothing, or a closer look.
const CLASS: [u8; 256] = {
    let mut class = [BAD; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        class[byte] = PLAIN;
        byte += 1;
    }
    class[b'/' as usize] = SLASH;
    class[b'%' as usize] = PERCENT;
    class[b';' as usize] = FORM;
    class[b'\\' as usize] = FORM;
    class[b'#' as usize] = BAD;
    class
};
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const PERCENT: u8 = 2;
const FORM: u8 = 3;
const BAD: u8 = 4;

/// Checks a path, without its query, and returns which of the forms that `allowed` lets through
/// it has.
///
/// # Errors
/// The first rule that it breaks.
#[inline]
pub fn check(path: &str, allowed: Allowed) -> Result<Allowed, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAPath);
    }
    if is_plain(bytes) {
        return Ok(Allowed::default());
    }
    check_closely(bytes, allowed)
}

fn check_closely(bytes: &[u8], allowed: Allowed) -> Result<Allowed, PathError> {
    let mut found = Allowed::default();
    for (position, byte) in bytes.iter().enumerate() {
        let class = CLASS[usize::from(*byte)];
        if class != PLAIN {
            found.0 |= look_closer(class, &bytes[position..])?;
        }
    }
    let refused = found.0 & !allowed.0 & !Allowed::ENCODED_TWICE;
    if refused != 0 {
        return Err(refusal(refused));
    }
    Ok(found)
}

/// Whether nothing in the path needs a closer look, as in nearly all of them. Two passes without
/// a way out before the end: then the compiler compares sixteen bytes at a time.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let odd =
        |byte: u8| byte.wrapping_sub(0x21) >= 0x5e || matches!(byte, b'%' | b';' | b'\\' | b'#');
    let odd = path.iter().fold(false, |any, byte| any | odd(*byte));
    let empty_or_dots = |(byte, next): (&u8, &u8)| (*byte == b'/') & matches!(next, b'/' | b'.');
    let pairs = path.iter().zip(&path[1..]);
    !(odd | pairs.fold(false, |any, pair| any | empty_or_dots(pair)))
}

/// Judges the byte at the front of `rest`; returns the bit of the form that it begins.
fn look_closer(class: u8, rest: &[u8]) -> Result<u8, PathError> {
    match class {
        SLASH => after_slash(&rest[1..]),
        PERCENT => percent(&rest[1..]),
        FORM if rest[0] == b';' => Ok(Allowed::SEMICOLON),
        FORM => Ok(Allowed::BACKSLASH),
        _ => Err(PathError::Byte),
    }
}

#[inline]
fn after_slash(rest: &[u8]) -> Result<u8, PathError> {
    match rest {
        [b'/', ..] => Ok(Allowed::DOUBLE_SLASH),
        [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => {
            Err(PathError::DotSegment)
        }
        _ => Ok(0),
    }
}

fn percent(rest: &[u8]) -> Result<u8, PathError> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(rest.first()), digit(rest.get(1))) else {
        return Err(PathError::InvalidEncoding);
    };
    match (high << 4 | low) as u8 {
        b'/' => Ok(Allowed::ENCODED_SLASH),
        b'\\' => Ok(Allowed::ENCODED_BACKSLASH),
        b'%' if digit(rest.get(2)).and(digit(rest.get(3))).is_some() => Ok(Allowed::ENCODED_TWICE),
        0 => Err(PathError::NeedlessEncoding),
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            Err(PathError::NeedlessEncoding)
        }
        _ => Ok(0),
    }
}

fn refusal(forms: u8) -> PathError {
    if forms & Allowed::DOUBLE_SLASH != 0 {
        PathError::DoubleSlash
    } else if forms & (Allowed::ENCODED_SLASH | Allowed::ENCODED_BACKSLASH) != 0 {
        PathError::NeedlessEncoding
    } else {
        PathError::Byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_first_glance_passes_nothing_that_a_closer_look_does_not(path in "/[/.a0;%#\\\\\u{e4} ~]{0,40}") {
            for allowed in [Allowed::default(), Allowed(31)] {
                let closely = check_closely(path.as_bytes(), allowed);
                proptest::prop_assert_eq!(check(&path, allowed), closely);
            }
        }
    }

    #[test]
    fn canonical_paths_pass() {
        for path in ["/", "/a", "/a/", "/a/b.c/..d/...", "/a%20b", "/%C3%A4", "/a:b@c!$&'()*+,=~"] {
            assert_eq!(check(path, Allowed::default()), Ok(Allowed::default()), "{path}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let cases = [
            ("", PathError::NotAPath),
            ("a", PathError::NotAPath),
            ("*", PathError::NotAPath),
            ("/.", PathError::DotSegment),
            ("/./a", PathError::DotSegment),
            ("/a/..", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("//", PathError::DoubleSlash),
            ("/a//b", PathError::DoubleSlash),
            ("/a\\b", PathError::Byte),
            ("/a;b", PathError::Byte),
            ("/a#b", PathError::Byte),
            ("/a b", PathError::Byte),
            ("/\u{e4}", PathError::Byte),
            ("/\u{7f}", PathError::Byte),
            ("/%", PathError::InvalidEncoding),
            ("/%4", PathError::InvalidEncoding),
            ("/%zz", PathError::InvalidEncoding),
            ("/%41", PathError::NeedlessEncoding),
            ("/%2e%2e", PathError::NeedlessEncoding),
            ("/%2f", PathError::NeedlessEncoding),
            ("/%5C", PathError::NeedlessEncoding),
            ("/%00", PathError::NeedlessEncoding),
        ];
        for (path, error) in cases {
            assert_eq!(check(path, Allowed::default()), Err(error), "{path}");
        }
    }

    #[test]
    fn what_is_encoded_twice_is_reported() {
        for path in ["/%252e%252e", "/a%2541", "/%25252e"] {
            assert_eq!(
                check(path, Allowed::default()).unwrap().0,
                Allowed::ENCODED_TWICE,
                "{path}"
            );
        }
        for path in ["/100%25", "/%25x", "/%252", "/%25%20"] {
            assert!(check(path, Allowed::default()).unwrap().is_none(), "{path}");
        }
    }

    #[test]
    fn allowed_forms_are_let_through_and_reported() {
        let forms = ["//", ";", "%2f"].map(str::to_owned);
        let allowed = Allowed::parse(&forms).unwrap();
        assert!(check("/a//b", allowed).unwrap().0 == Allowed::DOUBLE_SLASH);
        assert!(
            check("/a%2Fb;c", allowed).unwrap().0 == Allowed::ENCODED_SLASH | Allowed::SEMICOLON
        );
        assert!(check("/a/b", allowed).unwrap().is_none());
        assert_eq!(check("/a%5cb", allowed), Err(PathError::NeedlessEncoding));
        assert_eq!(check("/a/../b", allowed), Err(PathError::DotSegment));
        assert_eq!(Allowed::parse(&["..".to_owned()]), Err("..".to_owned()));
    }
}
