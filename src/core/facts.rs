//! What a decision is made about: the request, as every front end describes it.

use std::net::IpAddr;

use super::token;

/// A request. Borrowed from whatever the front end read; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// What is ambiguous about the message, as far as the front end could see.
    pub ambiguity: Option<Ambiguity>,
    /// The method.
    pub method: &'r str,
    /// The path as received, without the query.
    pub path: &'r str,
    /// What follows the `?`.
    pub query: Option<&'r str>,
    /// The host, perhaps with a port.
    pub host: Option<&'r str>,
    /// The credential.
    pub credential: Credential<'r>,
    /// The client's address; `None` where it cannot be known.
    pub client: Option<IpAddr>,
    /// The names of the client's certificate, which was verified: DNS names in lower case, URIs,
    /// and `sha256:` with the digest in hexadecimal digits. Empty where it showed none.
    pub client_names: &'r [String],
}

/// Why a message is refused before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// No `Host`, more than one, or one that is not a host.
    #[error("`Host` is missing, doubled or malformed")]
    Host,
    /// `Host` differs from the host of an absolute target.
    #[error("`Host` differs from the request target's host")]
    HostMismatch,
    /// `Content-Length` values that differ or are not a number, or with `Transfer-Encoding`.
    #[error("the length of the body is ambiguous")]
    Length,
    /// A `Transfer-Encoding` other than `chunked`.
    #[error("a transfer encoding other than `chunked`")]
    TransferEncoding,
    /// `CONNECT`, or a target that is not a path.
    #[error("the request target is not a path")]
    Target,
    /// The walk along a trusted proxy's forwarding header met something that is not an address.
    #[error("the forwarding header of a trusted proxy has something that is not an address")]
    ForwardedFor,
    /// A header that says who the client is or how long the message is, twice or malformed.
    #[error("a header is malformed")]
    Header,
}

/// The credential fields of a request, as received.
#[derive(Clone, Copy)]
pub enum Credential<'r> {
    /// None.
    Missing,
    /// The value of the one `Authorization` field.
    Authorization(&'r [u8]),
    /// The value of the one field of another credential header: the token alone.
    Header(&'r [u8]),
    /// More than one field.
    Several {
        /// Whether an accepted scheme is in one of them.
        accepted_scheme: bool,
    },
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::Authorization(_) => "Authorization(redacted)",
            Self::Header(_) => "Header(redacted)",
            Self::Several { .. } => "Several",
        })
    }
}

/// Why a credential is refused before any look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialError {
    Missing,
    Several,
    Scheme,
    Malformed(token::Malformed),
}

impl<'r> Credential<'r> {
    /// The token in it, checked by the grammar.
    #[inline]
    pub(crate) fn token(self) -> Result<&'r [u8], CredentialError> {
        let token = self.presented()?;
        token::check(token).map_err(CredentialError::Malformed)?;
        Ok(token)
    }

    /// What is in it, whether it could be a token or not.
    #[inline]
    pub(crate) fn presented(self) -> Result<&'r [u8], CredentialError> {
        match self {
            Self::Missing => Err(CredentialError::Missing),
            Self::Several { .. } => Err(CredentialError::Several),
            Self::Authorization(value) => after_scheme(value).ok_or(CredentialError::Scheme),
            Self::Header(value) => Ok(value),
        }
    }

    /// Whether an accepted scheme was sent: then the challenge says that the token is at fault
    /// (RFC 6750 section 3.1).
    pub(crate) fn has_accepted_scheme(self) -> bool {
        match self {
            Self::Authorization(value) => after_scheme(value).is_some(),
            Self::Several { accepted_scheme } => accepted_scheme,
            Self::Missing | Self::Header(_) => false,
        }
    }
}

/// What follows `Bearer` or `Token`, any case, and one or more spaces.
#[inline]
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"bearer") && !scheme.eq_ignore_ascii_case(b"token") {
        return None;
    }
    let start = rest.iter().position(|byte| *byte != b' ')?;
    Some(&rest[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_in_any_case_with_any_number_of_spaces() {
        for value in ["Bearer 0123456789abcdef", "tOkEn    0123456789abcdef"] {
            let credential = Credential::Authorization(value.as_bytes());
            assert_eq!(credential.token(), Ok(&b"0123456789abcdef"[..]), "{value}");
            assert!(credential.has_accepted_scheme());
        }
    }

    #[test]
    fn other_schemes_bare_tokens_and_empty_ones_are_refused() {
        for value in [
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer",
            "Bearer ",
            "Bearer\t0123456789abcdef",
        ] {
            let credential = Credential::Authorization(value.as_bytes());
            assert_eq!(credential.token(), Err(CredentialError::Scheme), "{value}");
        }
        let inner_space = Credential::Authorization(b"Bearer 0123456789abcdef 0123456789abcdef");
        assert_eq!(
            inner_space.token(),
            Err(CredentialError::Malformed(token::Malformed::Alphabet))
        );
    }
}
