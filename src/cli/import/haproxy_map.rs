//! A HAProxy map file, as HAProxy itself reads it: a key, blanks, and a value up to the line's
//! end. Lines that begin with `#` are comments; of a key that is there twice the first counts.

use super::foreign::{Credential, Key};

const BLANKS: [char; 2] = [' ', '\t'];

/// Reads one line; `None` for a comment.
pub(super) fn read(number: u64, line: &str) -> Option<Credential> {
    if line.starts_with('#') {
        return None;
    }
    let entry = line.trim_matches(|c| BLANKS.contains(&c) || c == '\r');
    let (key, value) = entry.split_once(BLANKS).unwrap_or((entry, ""));
    let client = value.trim_matches(BLANKS).to_owned();
    Some(Credential { line: number, client, key: Ok(Key::new(key.to_owned())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_key_and_a_value_or_a_comment() {
        let read = |line| {
            let credential = read(1, line)?;
            Some((credential.key.ok()?.text.to_string(), credential.client))
        };
        let pair = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(read("key value"), pair("key", "value"));
        assert_eq!(read("  key \t 7/nightly build \r"), pair("key", "7/nightly build"));
        assert_eq!(read("key"), pair("key", ""));
        assert_eq!(read("# key value"), None);
        assert_eq!(read(" # value"), pair("#", "value"), "only at the beginning of a line");
    }
}
