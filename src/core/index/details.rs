//! What a token's slot has no room for: its grants, and what few tokens have besides.
//!
//! Most tokens carry the same few grants as others; what was just packed is not packed again.

use super::grants::{self, Grants};
use super::prefetch::prefetch_run;
use super::runs::Runs;
use super::token::Extra;
use crate::core::ip::PrefixSet;
use crate::core::record::{Licence, Timestamp, TokenId, TokenUser};

/// Runs that are remembered while details are added, so that equal ones are kept once.
const RECENT: usize = 1 << 12;

/// Bytes that most tokens need no more of.
const MOST: usize = 32;

const WIDE_ID: u8 = 1;
const USER: u8 = 1 << 1;
const NOT_BEFORE: u8 = 1 << 2;
const ALLOW_IPS: u8 = 1 << 3;
/// No grants follow.
const NO_GRANTS: u8 = 1 << 4;

/// The details of all tokens.
#[derive(Debug, Default)]
pub(super) struct Details {
    runs: Runs<u8>,
    /// Prefixes that narrow tokens.
    narrowings: Vec<PrefixSet>,
}

/// The details of one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail<'i> {
    /// Its number, where it takes more than 32 bits.
    pub(super) wide_id: Option<TokenId>,
    pub(super) user: Option<TokenUser>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) allow_ips: Option<&'i PrefixSet>,
    pub(super) grants: Grants<'i>,
}

impl Detail<'_> {
    pub(super) const NOTHING: Detail<'static> = Detail {
        wide_id: None,
        user: None,
        not_before: None,
        allow_ips: None,
        grants: Grants::NONE,
    };
}

impl Details {
    /// The details at a position.
    #[inline]
    pub(super) fn at(&self, position: u32) -> Detail<'_> {
        let bytes = self.runs.starting_at(position);
        match bytes {
            [fields, grants::ASIDE, rest @ ..] => self.with_aside(*fields, rest),
            _ => Detail { grants: Grants::starting_at(bytes), ..Detail::NOTHING },
        }
    }

    /// Asks memory for the details at a position.
    #[inline]
    pub(super) fn touch(&self, position: u32) {
        prefetch_run(self.runs.starting_at(position), MOST);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.runs.memory_bytes() + self.narrowings.capacity() * size_of::<PrefixSet>()
    }

    fn with_aside<'i>(&'i self, fields: u8, rest: &'i [u8]) -> Detail<'i> {
        let mut rest = rest;
        let wide_id = (fields & WIDE_ID != 0).then(|| take::<8>(&mut rest));
        let user = (fields & USER != 0).then(|| {
            let licence = Licence::ALL[usize::from(take::<1>(&mut rest) as u8)];
            TokenUser { id: take::<8>(&mut rest), licence }
        });
        let not_before =
            (fields & NOT_BEFORE != 0).then(|| Timestamp(take::<8>(&mut rest).cast_signed()));
        let narrowing = (fields & ALLOW_IPS != 0).then(|| take::<4>(&mut rest) as usize);
        Detail {
            wide_id,
            user,
            not_before,
            allow_ips: narrowing.map(|position| &self.narrowings[position]),
            grants: match fields & NO_GRANTS {
                0 => Grants::starting_at(rest),
                _ => Grants::NONE,
            },
        }
    }
}

/// Collects details.
#[derive(Debug, Default)]
pub(super) struct DetailsBuilder {
    details: Details,
    /// Hash, position and length of runs that were added lately, by hash.
    recent: Vec<Option<(u64, u32, usize)>>,
    bytes: Vec<u8>,
}

/// Positions have run out.
pub(super) struct Full;

impl DetailsBuilder {
    /// Adds the details of a token and returns their position; `None` where it has none.
    pub(super) fn add(
        &mut self,
        wide_id: Option<TokenId>,
        extra: Extra,
        grants: &[u8],
    ) -> Result<Option<u32>, Full> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.pack(wide_id, extra, grants, &mut bytes)?;
        let position = if bytes.is_empty() { Ok(None) } else { self.position(&bytes).map(Some) };
        self.bytes = bytes;
        position
    }

    pub(super) fn finish(mut self) -> Details {
        self.details.runs.shrink();
        self.details.narrowings.shrink_to_fit();
        self.details
    }

    fn pack(
        &mut self,
        wide_id: Option<TokenId>,
        extra: Extra,
        grants: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Full> {
        let Extra { user, not_before, allow_ips } = extra;
        let mut fields = 0;
        bytes.extend([0, grants::ASIDE]);
        if let Some(id) = wide_id {
            fields |= WIDE_ID;
            bytes.extend(id.to_le_bytes());
        }
        if let Some(TokenUser { id, licence }) = user {
            fields |= USER;
            bytes.push(licence as u8);
            bytes.extend(id.to_le_bytes());
        }
        if let Some(Timestamp(from)) = not_before {
            fields |= NOT_BEFORE;
            bytes.extend(from.to_le_bytes());
        }
        if let Some(prefixes) = allow_ips {
            fields |= ALLOW_IPS;
            let position = u32::try_from(self.details.narrowings.len()).map_err(|_| Full)?;
            self.details.narrowings.push(prefixes);
            bytes.extend(position.to_le_bytes());
        }
        match (fields, grants.is_empty()) {
            (0, _) => bytes.clear(),
            (_, true) => bytes[0] = fields | NO_GRANTS,
            (_, false) => bytes[0] = fields,
        }
        bytes.extend(grants);
        Ok(())
    }

    /// The position of these bytes, which may be there already.
    fn position(&mut self, bytes: &[u8]) -> Result<u32, Full> {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut hasher = foldhash::fast::FixedState::default().build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        self.recent.resize(RECENT, None);
        let recent = &mut self.recent[hash as usize % RECENT];
        if let Some((known, position, length)) = *recent
            && (known, length) == (hash, bytes.len())
            && self.details.runs.starting_at(position).starts_with(bytes)
        {
            return Ok(position);
        }
        let position = self.details.runs.push(bytes).ok_or(Full)?;
        *recent = Some((hash, position, bytes.len()));
        Ok(position)
    }
}

/// Takes a number of so many bytes from the front, as [`DetailsBuilder`] put it there.
fn take<const LENGTH: usize>(rest: &mut &[u8]) -> u64 {
    let (bytes, after) = rest.split_at(LENGTH);
    *rest = after;
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extra() -> impl Strategy<Value = Extra> {
        let user = (any::<u64>(), 0_usize..3)
            .prop_map(|(id, licence)| TokenUser { id, licence: Licence::ALL[licence] });
        let not_before = any::<i64>().prop_map(Timestamp);
        let allow_ips = (0_u8..3)
            .prop_map(|octet| PrefixSet::compile(&[format!("10.{octet}.0.0/16").parse().unwrap()]));
        (
            proptest::option::of(user),
            proptest::option::of(not_before),
            proptest::option::of(allow_ips),
        )
            .prop_map(|(user, not_before, allow_ips)| Extra {
                user,
                not_before,
                allow_ips,
            })
    }

    /// So many grants on all projects of set 0.
    fn packed(grants: usize) -> Vec<u8> {
        let mut bytes = [0, 0x0f].repeat(grants);
        if let Some(last) = bytes.last_mut() {
            *last = 0x2f;
        }
        bytes
    }

    proptest! {
        #[test]
        fn details_are_what_was_added(
            added in proptest::collection::vec(
                (proptest::option::of(any::<u64>()), extra(), 0_usize..4),
                0..60,
            ),
        ) {
            let mut builder = DetailsBuilder::default();
            let mut positions = Vec::new();
            for (wide_id, extra, grants) in &added {
                positions.push(builder.add(*wide_id, extra.clone(), &packed(*grants)).ok().unwrap());
            }
            let details = builder.finish();
            for (position, (wide_id, extra, grants)) in positions.iter().zip(&added) {
                let detail = position.map_or(Detail::NOTHING, |position| details.at(position));
                prop_assert_eq!(detail.wide_id, *wide_id);
                prop_assert_eq!(detail.user, extra.user);
                prop_assert_eq!(detail.not_before, extra.not_before);
                let prefixes = |set: &PrefixSet| set.iter().collect::<Vec<_>>();
                let expected = extra.allow_ips.as_ref().map(prefixes);
                prop_assert_eq!(detail.allow_ips.map(prefixes), expected);
                prop_assert_eq!(detail.grants.iter().count(), *grants);
            }
        }
    }

    #[test]
    fn equal_grants_are_kept_once() {
        let mut builder = DetailsBuilder::default();
        let nothing = Extra { user: None, not_before: None, allow_ips: None };
        let mut add = |grants| builder.add(None, nothing.clone(), &packed(grants)).ok().unwrap();
        assert_eq!(add(2), add(2));
        assert_ne!(add(2), add(3));
        assert_eq!(add(0), None);
    }
}
