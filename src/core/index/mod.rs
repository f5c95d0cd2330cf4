//! The index: everything that decisions need, immutable and in memory.
//!
//! An [`Index`] is a read-only base and a small overlay of what changed since, looked up first
//! and costing one branch while it is empty. A change makes a new `Index` of shared parts; from
//! time to time the overlay is folded into the next base. Nobody ever waits for a lock.

mod account;
mod accounts;
mod base;
mod details;
mod grants;
mod ids;
mod overlay;
mod partition;
mod positions;
mod prefetch;
mod runs;
mod slow;
mod table;
mod token;
mod trie;

use std::fmt;
use std::sync::Arc;

pub use account::Account;
pub(crate) use account::Rules;
pub use grants::{GrantView, Grants};
pub use token::Token;

use base::{Base, BaseBuilder};
pub(crate) use ids::{IdKey, IdRow};
use overlay::Overlay;
use slow::{SlowToken, SlowView};
use table::{Bits, Slot};

use super::digest::{Digest, DigestKey, DigestKeys};
use super::path::Allowed;
use super::permissions::PermissionSets;
use super::record::{AccountId, Record, Timestamp, TokenId, UserId, Verifier};
use super::routes::Routes;
use super::token::may_be_asked_about;

/// What decisions need besides the store's records: the configuration's part of the index.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The route table.
    pub routes: Arc<Routes>,
    /// The permission sets.
    pub permission_sets: Arc<PermissionSets>,
    /// The digest keys.
    pub keys: Arc<DigestKeys>,
    /// Path forms that are let through to routes without captures.
    pub allow_in_path: Allowed,
    /// Most hashes tried for one guess; 0 where slow verifiers are off.
    pub candidates_limit: usize,
    /// How tokens begin that an introspection endpoint may be asked about.
    pub introspected: Arc<[String]>,
}

impl Policy {
    /// Whether records compiled under the other policy mean the same under this one, so that an
    /// index can change its policy without being built anew.
    pub fn reads_alike(&self, other: &Self) -> bool {
        let ids =
            |policy: &Self| policy.keys.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>();
        let names = |policy: &Self| {
            policy.permission_sets.iter().map(|set| set.name().to_owned()).collect::<Vec<_>>()
        };
        ids(self) == ids(other)
            && names(self) == names(other)
            && self.routes.index_names() == other.routes.index_names()
    }
}

/// Why an index cannot be built from the records given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A token came before its account, or without it.
    #[error("token {token} is of account {account}, which the snapshot does not hold")]
    UnknownAccount {
        /// The token.
        token: TokenId,
        /// The account.
        account: AccountId,
    },
    /// More than fit into 31 bits.
    #[error("too many {0} for one index")]
    Full(&'static str),
}

/// A token that a secret could be, to be tried by the slow lane.
#[derive(Clone)]
pub struct Candidate {
    /// The token.
    pub token_id: TokenId,
    /// Its account, by which the slow lane is shared out.
    pub account_id: AccountId,
    /// Its user, for a personal token.
    pub user_id: Option<UserId>,
    /// Its version: a remembered verification of another one is void.
    pub version: u64,
    /// Its password hash; `None` where an introspection endpoint is asked.
    pub encoded: Option<Arc<str>>,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({}, redacted)", self.token_id)
    }
}

/// A look-up that has begun.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'i> {
    /// The secret's digest under the current key.
    pub(crate) digest: Digest,
    slot: Option<&'i Slot>,
}

impl Sought<'_> {
    fn bits(&self) -> Bits {
        bits(&self.digest.0)
    }
}

/// Bytes of a base's parts, slack included. Slow tokens are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What tokens are found by, with their expiry.
    pub tokens: usize,
    /// Grants, and what few tokens have besides.
    pub grants: usize,
    /// Accounts with their projects and, where they have few, IP rules.
    pub accounts: usize,
    /// IP rules of accounts that have many.
    pub ip_rules: usize,
    /// The id index.
    pub ids: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { tokens, grants, accounts, ip_rules, ids } = self;
        tokens + grants + accounts + ip_rules + ids
    }
}

/// Everything that decisions need, as of one position in the store's change log.
#[derive(Clone, Debug)]
pub struct Index {
    policy: Arc<Policy>,
    base: Arc<Base>,
    overlay: Overlay,
    sequence: u64,
}

impl Index {
    /// The index of a snapshot's records, accounts before what refers to them, as of `sequence`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn build(
        policy: Arc<Policy>,
        records: impl IntoIterator<Item = Record>,
        sequence: u64,
    ) -> Result<Self, IndexError> {
        let mut builder = IndexBuilder::new(policy);
        records.into_iter().try_for_each(|record| builder.add(record))?;
        Ok(builder.finish(sequence))
    }

    /// This index with the records put in place of what was there, as of `sequence`.
    #[must_use]
    pub fn apply<'r>(&self, records: impl IntoIterator<Item = &'r Record>, sequence: u64) -> Self {
        let mut next = self.clone();
        records.into_iter().for_each(|record| {
            next.overlay.put(record, &self.policy, &self.base);
        });
        next.sequence = sequence;
        next
    }

    /// This index with its overlay folded into a new base.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn fold(&self) -> Result<Self, IndexError> {
        Ok(Self {
            policy: self.policy.clone(),
            base: Arc::new(self.base.fold(&self.overlay)?),
            overlay: Overlay::default(),
            sequence: self.sequence,
        })
    }

    /// This index on the base of `folded`, which `before` was folded into: this one as it was when
    /// that began. What has changed since stays in the overlay. `None` where this index has been
    /// built anew meanwhile, so that `before` is no earlier state of it.
    #[must_use]
    pub fn onto(&self, folded: &Self, before: &Self) -> Option<Self> {
        self.has_base_of(before).then(|| Self {
            policy: self.policy.clone(),
            base: folded.base.clone(),
            overlay: self.overlay.since(&before.overlay, &folded.base),
            sequence: self.sequence,
        })
    }

    /// Whether both share one base, so that dropping one of them drops little.
    pub fn has_base_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    /// This index under another policy that [reads alike](Policy::reads_alike).
    #[must_use]
    pub fn with_policy(&self, policy: Arc<Policy>) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The configuration's part.
    #[inline]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Position of the last change that it holds.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Tokens in the base. Those that came since are in the overlay.
    pub fn base_tokens(&self) -> usize {
        self.base.tokens()
    }

    /// Changes since the base.
    pub fn overlay_entries(&self) -> usize {
        self.overlay.len()
    }

    /// Tokens, revoked ones included.
    pub fn tokens(&self) -> usize {
        let slow = |came: bool| {
            let changed = self.overlay.slow.iter();
            changed
                .filter(|(id, token)| {
                    token.is_some() == came && self.base.slow.contains(*id) != came
                })
                .count()
        };
        self.base.tokens() + self.overlay.added() + slow(true) - slow(false)
    }

    /// What the base's tokens, accounts and id-index rows take.
    pub fn memory(&self) -> Memory {
        self.base.memory()
    }

    /// The account of that number.
    pub fn account(&self, id: AccountId) -> Option<Account<'_>> {
        self.overlay.account(id).or_else(|| self.base.account(id))
    }

    /// Begins to look a secret up: what memory has to bring is on its way while the caller does
    /// something else.
    #[inline]
    pub(crate) fn seek(&self, secret: &[u8]) -> Sought<'_> {
        let sought = Sought { digest: self.policy.keys.current().digest(secret), slot: None };
        self.base.touch(sought.bits());
        sought
    }

    /// Goes on with it: what the token points to is on its way as well.
    #[inline]
    pub(crate) fn approach<'i>(&'i self, sought: &mut Sought<'i>) {
        sought.slot = self.base.approach(sought.bits());
    }

    /// Begins to look for the row of a key, likewise.
    #[inline]
    pub(crate) fn seek_id(&self, key: IdKey) {
        self.base.ids.touch(key);
    }

    /// Both at once, for a caller that has nothing else to do meanwhile.
    pub(crate) fn seek_at_once(&self, secret: &[u8]) -> Sought<'_> {
        let mut sought = self.seek(secret);
        self.approach(&mut sought);
        sought
    }

    /// The fast token that this secret is, by any digest key or by SHA-256.
    pub(crate) fn find_secret(&self, secret: &[u8]) -> Option<Token<'_>> {
        self.find_sought(&self.seek_at_once(secret), secret)
    }

    /// Likewise, where the look-up has begun.
    #[inline]
    pub(crate) fn find_sought<'i>(
        &'i self,
        sought: &Sought<'i>,
        secret: &[u8],
    ) -> Option<Token<'i>> {
        self.find(sought.bits(), sought.slot).or_else(|| self.find_otherwise(secret))
    }

    /// The fast token that this secret is by another key than the current one.
    fn find_otherwise(&self, secret: &[u8]) -> Option<Token<'_>> {
        let by_key = |key: &DigestKey| self.find_bits(bits(&key.digest(secret).0));
        self.policy.keys.previous().iter().find_map(by_key).or_else(|| {
            let has_sha256 = self.base.has_sha256 || self.overlay.has_sha256;
            has_sha256.then(|| self.find_bits(bits(&sha256(secret))))?
        })
    }

    /// The token of a record's verifier: for `explain`, which may have no secret.
    pub fn find_verifier(&self, token: TokenId, verifier: &Verifier) -> Option<Token<'_>> {
        match fast_bits(verifier, &self.policy.keys) {
            Some(bits) => self.find_bits(bits),
            None => self.find_slow(token),
        }
    }

    /// The slow token of that number.
    pub(crate) fn find_slow(&self, id: TokenId) -> Option<Token<'_>> {
        let slow = self.slow().find(id)?;
        Some(slow.token.view(self.account(slow.token.account)?, true))
    }

    /// Whether any token is a slow one.
    #[inline]
    pub(crate) fn has_slow(&self) -> bool {
        !self.slow().is_empty()
    }

    /// Version of the slow token of that number, by which remembered verifications are checked.
    pub fn slow_version(&self, id: TokenId) -> Option<u64> {
        self.slow().find(id).map(|slow| slow.version)
    }

    /// Whether the token of that number is known by a password hash, and neither revoked nor
    /// expired.
    pub fn is_slow_and_usable(&self, id: TokenId, now: Timestamp) -> bool {
        let hashed = self.slow().find(id).filter(|slow| slow.encoded.is_some());
        hashed.is_some_and(|slow| self.is_alive(slow, now))
    }

    /// Whether a slow token is neither revoked nor expired.
    fn is_alive(&self, slow: &SlowToken, now: Timestamp) -> bool {
        self.account(slow.token.account).is_some_and(|account| {
            let token = slow.token.view(account, true);
            !token.revoked && token.expires.is_none_or(|at| now < at)
        })
    }

    /// The slow tokens that a secret could be: never revoked or expired ones, and of those with a
    /// hash at most as many as the policy allows. The others cost one question together, and all of
    /// them have to be known to tell whether its answer fits several.
    pub(crate) fn candidates(
        &self,
        secret: &[u8],
        account: Option<AccountId>,
        now: Timestamp,
    ) -> Vec<Candidate> {
        if !self.has_slow() {
            return Vec::new();
        }
        let is_asked = may_be_asked_about(secret, &self.policy.introspected);
        let is_candidate = |slow: &&Arc<SlowToken>| {
            (slow.encoded.is_some() || is_asked) && self.is_alive(slow, now)
        };
        let candidate = |slow: &Arc<SlowToken>| Candidate {
            token_id: slow.token.id,
            account_id: slow.token.account,
            version: slow.version,
            user_id: slow.token.extra.user.map(|user| user.id),
            encoded: slow.encoded.clone(),
        };
        let mut hashes = 0;
        let mut is_tried = |slow: &&Arc<SlowToken>| {
            hashes += usize::from(slow.encoded.is_some());
            slow.encoded.is_none() || hashes <= self.policy.candidates_limit
        };
        let candidates = self.slow().candidates(secret, account).filter(is_candidate);
        candidates.filter(|slow| is_tried(slow)).map(candidate).collect()
    }

    /// The id-index row of a key.
    #[inline]
    pub(crate) fn id_row(&self, key: IdKey) -> Option<IdRow> {
        self.overlay.id(key).unwrap_or_else(|| self.base.ids.find(key))
    }

    fn find_bits(&self, bits: Bits) -> Option<Token<'_>> {
        self.find(bits, self.base.approach(bits))
    }

    /// The token of these bits, which in the base is in this slot.
    #[inline]
    fn find<'i>(&'i self, bits: Bits, slot: Option<&'i Slot>) -> Option<Token<'i>> {
        if self.overlay.has_tokens()
            && let Some(token) = self.overlay.token(bits)
        {
            return Some(token.view(self.account(token.account)?, false));
        }
        let mut token = self.base.view(slot?);
        if self.overlay.has_accounts()
            && let Some(account) = self.overlay.account(token.account.id())
        {
            token.account = account;
        }
        Some(token)
    }

    fn slow(&self) -> SlowView<'_> {
        SlowView { base: &self.base.slow, changes: &self.overlay.slow }
    }
}

/// Builds an index record by record, so that a snapshot need not be held beside it.
#[derive(Debug)]
pub struct IndexBuilder {
    policy: Arc<Policy>,
    base: BaseBuilder,
}

impl IndexBuilder {
    /// An index without records yet.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, base: BaseBuilder::default() }
    }

    /// Adds a record; an account before what refers to it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn add(&mut self, record: Record) -> Result<(), IndexError> {
        self.base.add(record, &self.policy)
    }

    /// The index, as of `sequence`.
    pub fn finish(self, sequence: u64) -> Index {
        Index {
            policy: self.policy,
            base: Arc::new(self.base.finish()),
            overlay: Overlay::default(),
            sequence,
        }
    }
}

/// The bits by which a fast verifier's token is found; `None` for a slow one, or a digest under a
/// key that is no longer in use.
fn fast_bits(verifier: &Verifier, keys: &DigestKeys) -> Option<Bits> {
    match verifier {
        Verifier::Digest { key_id, digest } => keys.find(key_id).map(|_| bits(&digest.0)),
        Verifier::Sha256(digest) => Some(bits(digest)),
        Verifier::Hash { .. } | Verifier::Introspect { .. } => None,
    }
}

#[inline]
fn bits(digest: &[u8; 32]) -> Bits {
    let word = |at: usize| {
        let bytes = digest[at..at + 8].try_into().expect("invariant: 8 bytes of 32");
        u64::from_be_bytes(bytes)
    };
    [word(0), word(8)]
}

fn sha256(secret: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(secret).into()
}
