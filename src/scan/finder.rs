//! Tokens in a text that is in memory.

use memchr::memmem;

use crate::core::token::{TOKEN_LEN, TokenKind, is_ours};

/// Finds tokens of ours by their prefixes, and tells them from what only looks so by the checksum.
#[derive(Debug)]
pub struct Finder {
    prefixes: [memmem::Finder<'static>; 2],
}

impl Finder {
    /// A finder of tokens of either kind.
    pub fn new() -> Self {
        let prefixes = [TokenKind::Service, TokenKind::Personal];
        Self { prefixes: prefixes.map(|kind| memmem::Finder::new(kind.prefix())) }
    }

    /// Puts the places at which whole tokens begin into `places`, in ascending order.
    pub fn find(&self, text: &[u8], places: &mut Vec<usize>) {
        places.clear();
        for prefix in &self.prefixes {
            let whole = |at: &usize| text.get(*at..at + TOKEN_LEN).is_some_and(is_ours);
            places.extend(prefix.find_iter(text).filter(whole));
        }
        places.sort_unstable();
    }
}

impl Default for Finder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::token::Secret;

    fn token(kind: TokenKind, seed: u8) -> Vec<u8> {
        Secret::from_entropy(kind, [seed; 32]).expose().as_bytes().to_vec()
    }

    fn found(text: &[u8]) -> Vec<usize> {
        let mut places = vec![7];
        Finder::new().find(text, &mut places);
        places
    }

    /// Looks at every place.
    fn naive(text: &[u8]) -> Vec<usize> {
        (0..text.len()).filter(|at| text[*at..].get(..TOKEN_LEN).is_some_and(is_ours)).collect()
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let kinds = prop::sample::select(vec![TokenKind::Service, TokenKind::Personal]);
        let whole = (kinds, any::<u8>()).prop_map(|(kind, seed)| token(kind, seed));
        let broken = (whole.clone(), 0..TOKEN_LEN, any::<u8>()).prop_map(|(mut text, at, byte)| {
            text[at] = byte;
            text
        });
        let cut = (whole.clone(), 0..TOKEN_LEN).prop_map(|(text, end)| text[..end].to_vec());
        let noise =
            prop::collection::vec(prop::sample::select(b"ptsu_0aZ\n \xff\0".to_vec()), 0..9);
        prop_oneof![whole, broken, cut, noise]
    }

    proptest! {
        #[test]
        fn the_same_is_found_as_by_looking_at_every_place(
            pieces in prop::collection::vec(pieces(), 0..12),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(found(&text), naive(&text));
        }
    }

    #[test]
    fn a_token_is_found_whatever_it_stands_between() {
        let (service, personal) = (token(TokenKind::Service, 1), token(TokenKind::Personal, 2));
        let text = [b"\"pts_pts_".as_slice(), &service, &personal, b"abc\0", &service].concat();
        assert_eq!(found(&text), [9, 62, 119]);
    }
}
