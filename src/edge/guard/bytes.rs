//! Which bytes may stand where, by tables and by passes that compilers turn into vector code.

/// A table of the bytes for which `is` holds.
macro_rules! table {
    ($is:expr) => {{
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = $is(byte as u8);
            byte += 1;
        }
        table
    }};
}

/// `tchar` (RFC 9110 section 5.6.2).
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What a target may hold: visible ASCII but `#`, which begins a fragment, and `"`, `<`, `>` and
/// `` ` ``, which are in no URI (RFC 3986 appendix A). Other bytes that are in none either are left
/// to the rules for paths: everyone reads them alike.
const fn is_of_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`')
}

static TOKEN: [bool; 256] = table!(is_tchar);
static TARGET: [bool; 256] = table!(is_of_target);

/// Whether a byte may be in a token.
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// How many bytes at the front are a token.
#[inline]
pub(super) fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len())
}

/// Whether a target holds nothing that it may not.
#[inline]
pub(super) fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| TARGET[usize::from(*byte)])
}

/// A byte that is in no field value: a control other than a tab (RFC 9110 section 5.5).
#[inline]
pub(super) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') | (byte == 0x7f)
}

/// How many controls there are. Without a way out before the end: then sixteen bytes are compared
/// at a time.
#[inline]
pub(super) fn count_controls(bytes: &[u8]) -> usize {
    // No more than a byte can count.
    const AT_A_TIME: usize = 240;
    let count = |bytes: &[u8]| bytes.iter().map(|byte| u8::from(is_control(*byte))).sum::<u8>();
    bytes.chunks(AT_A_TIME).map(|bytes| usize::from(count(bytes))).sum()
}

/// Without the spaces and tabs at either end.
#[inline]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
