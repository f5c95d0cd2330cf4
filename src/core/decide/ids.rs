//! Ids as they come in paths and queries.

use crate::core::record::ProjectId;
use crate::core::verdict::Reason;

/// An id of a path: `0|[1-9][0-9]{0,18}`.
#[inline]
pub(super) fn id(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 19 || (bytes[0] == b'0' && bytes.len() > 1) {
        return None;
    }
    bytes.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// The id in a query parameter. Twice, or so encoded that another parser could see it where this
/// one does not: a bad request.
pub(super) fn query_id(query: Option<&str>, parameter: &str) -> Result<Option<ProjectId>, Reason> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Some parsers also end a parameter at `;`.
        let hidden = pair.contains(';') && pair.split(';').any(|part| named(part, parameter));
        let encoded = name.contains(['%', '+']) && decodes_to(name, parameter);
        if hidden || encoded {
            return Err(Reason::BadRequest);
        }
        if name != parameter {
            continue;
        }
        if found.replace(value).is_some() || value.contains(['%', '+']) {
            return Err(Reason::BadRequest);
        }
    }
    // Not before the end: what is there twice is a bad request, whatever the first one says.
    found.map(|value| id(value).ok_or(Reason::NoPermission)).transpose()
}

fn named(pair: &str, parameter: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    name == parameter || decodes_to(name, parameter)
}

/// Whether a percent-encoded name is the parameter's once decoded, in any case.
fn decodes_to(name: &str, parameter: &str) -> bool {
    let mut bytes = name.bytes();
    let decoded = std::iter::from_fn(|| match bytes.next()? {
        b'%' => {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            Some((high << 4 | low) as u8)
        }
        b'+' => Some(b' '),
        byte => Some(byte),
    });
    decoded.eq(parameter.bytes())
}

pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}
