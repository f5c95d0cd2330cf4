//! What comes of a decision.

use std::fmt;

use super::decide::Granted;
use super::digest::Digest;
use super::facts::Facts;
use super::index::{Candidate, Policy, Token};
use super::record::{AccountId, TokenId, UserId};
use super::routes::Route;

/// Why a request is let through or not. Told to operators, never to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Every step passed.
    Allow,
    /// The route is public.
    Public,
    /// The message is ambiguous or its path not canonical.
    BadRequest,
    /// No credential.
    NoCredential,
    /// A credential that cannot be a token.
    MalformedCredential,
    /// More than one credential.
    MultipleCredentials,
    /// Our prefix with a wrong checksum.
    BadChecksum,
    /// No token has this digest.
    UnknownToken,
    /// The slow lane tried every candidate, and none matched.
    LegacyMismatch,
    /// Revoked.
    Revoked,
    /// Not valid yet.
    NotYetValid,
    /// No longer valid.
    Expired,
    /// The account is closed or its plan cancelled.
    AccountClosed,
    /// The account's IP rules.
    IpDenied,
    /// The token's own narrowing.
    TokenIpDenied,
    /// No route.
    NoRoute,
    /// Another account's path.
    WrongAccount,
    /// No grant gives what the route needs.
    NoPermission,
    /// A rate limit.
    RateLimited,
    /// The limit on failed credentials of this address.
    FailureLimited,
    /// The slow lane's queue is full.
    LaneFull,
    /// The slow lane took too long.
    LaneTimeout,
    /// There is no index yet.
    NoIndex,
}

impl Reason {
    /// Every reason, in the order in which they are listed.
    pub const ALL: [Self; 23] = [
        Self::Allow,
        Self::Public,
        Self::BadRequest,
        Self::NoCredential,
        Self::MalformedCredential,
        Self::MultipleCredentials,
        Self::BadChecksum,
        Self::UnknownToken,
        Self::LegacyMismatch,
        Self::Revoked,
        Self::NotYetValid,
        Self::Expired,
        Self::AccountClosed,
        Self::IpDenied,
        Self::TokenIpDenied,
        Self::NoRoute,
        Self::WrongAccount,
        Self::NoPermission,
        Self::RateLimited,
        Self::FailureLimited,
        Self::LaneFull,
        Self::LaneTimeout,
        Self::NoIndex,
    ];

    /// The name in metrics, logs and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Public => "public",
            Self::BadRequest => "bad_request",
            Self::NoCredential => "no_credential",
            Self::MalformedCredential => "malformed_credential",
            Self::MultipleCredentials => "multiple_credentials",
            Self::BadChecksum => "bad_checksum",
            Self::UnknownToken => "unknown_token",
            Self::LegacyMismatch => "legacy_mismatch",
            Self::Revoked => "revoked",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::AccountClosed => "account_closed",
            Self::IpDenied => "ip_denied",
            Self::TokenIpDenied => "token_ip_denied",
            Self::NoRoute => "no_route",
            Self::WrongAccount => "wrong_account",
            Self::NoPermission => "no_permission",
            Self::RateLimited => "rate_limited",
            Self::FailureLimited => "failure_limited",
            Self::LaneFull => "lane_full",
            Self::LaneTimeout => "lane_timeout",
            Self::NoIndex => "no_index",
        }
    }

    /// Whether it is a reason to let through.
    pub fn is_allow(self) -> bool {
        matches!(self, Self::Allow | Self::Public)
    }

    /// The HTTP status that a caller gets; `conceal` hides missing permissions as 404.
    pub fn status(self, conceal: bool) -> u16 {
        match self {
            Self::Allow | Self::Public => 200,
            Self::BadRequest => 400,
            Self::NoCredential
            | Self::MalformedCredential
            | Self::MultipleCredentials
            | Self::BadChecksum
            | Self::UnknownToken
            | Self::LegacyMismatch
            | Self::Revoked
            | Self::NotYetValid
            | Self::Expired => 401,
            Self::NoPermission if conceal => 404,
            Self::AccountClosed
            | Self::IpDenied
            | Self::TokenIpDenied
            | Self::NoRoute
            | Self::WrongAccount
            | Self::NoPermission => 403,
            Self::RateLimited | Self::FailureLimited => 429,
            Self::LaneFull | Self::LaneTimeout | Self::NoIndex => 503,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a token was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// No token was looked up.
    None,
    /// By digest, in the index.
    Fast,
    /// By the slow lane's memory.
    Cached,
    /// By the slow lane.
    Slow,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::None, Self::Fast, Self::Cached, Self::Slow];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fast => "fast",
            Self::Cached => "cached",
            Self::Slow => "slow",
        }
    }
}

/// What comes of a decision.
#[derive(Debug)]
pub enum Verdict<'i> {
    /// Let it through.
    Allow(Permit<'i>),
    /// Refuse it.
    Deny(Denial),
    /// Ask the slow lane, then [`super::decide::resume`].
    Slow(SlowRequest),
}

/// Leave to forward one request. Only a decision makes one, and only with one is a request
/// forwarded.
#[derive(Debug)]
pub struct Permit<'i> {
    pub(super) policy: &'i Policy,
    pub(super) route: Option<&'i Route>,
    pub(super) upstream: usize,
    pub(super) bearer: Option<Bearer<'i>>,
    pub(super) lane: Lane,
}

/// The token that a permit was given to.
#[derive(Debug)]
pub(super) struct Bearer<'i> {
    pub(super) token: Token<'i>,
    pub(super) granted: Granted,
}

impl<'i> Permit<'i> {
    /// The route; `None` where `[routes] unmatched = "authenticated"` let it through.
    pub fn route(&self) -> Option<&'i Route> {
        self.route
    }

    /// Position of the upstream in the configuration.
    pub fn upstream(&self) -> usize {
        self.upstream
    }

    /// The token; `None` on a public route.
    pub fn token(&self) -> Option<&Token<'i>> {
        self.bearer.as_ref().map(|bearer| &bearer.token)
    }

    /// How the token was recognised.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// `allow` or `public`.
    pub fn reason(&self) -> Reason {
        if self.bearer.is_some() { Reason::Allow } else { Reason::Public }
    }

    /// What rate limits count by.
    #[inline]
    pub fn limit_keys(&self) -> Option<LimitKeys> {
        let token = self.token()?;
        let group = match self.route {
            Some(route) => route.limit,
            None => self.policy.routes.unmatched_limit(),
        };
        Some(LimitKeys { account: token.account.id(), token: token.id, group })
    }

    /// A refusal of what was permitted, by a step that comes after the index.
    pub fn refuse(&self, reason: Reason, facts: &Facts<'_>) -> Denial {
        Denial {
            reason,
            caller: self.token().map(Caller::of),
            accepted_scheme: facts.credential.has_accepted_scheme(),
            lane: self.lane,
        }
    }

    /// Appends the names of the token's permission sets, suspended ones left out: ascending,
    /// each once, separated by commas.
    pub fn write_permission_sets(&self, out: &mut String) {
        let Some(bearer) = &self.bearer else { return };
        super::decide::write_permission_sets(self.policy, &bearer.token, out);
    }

    /// Appends the projects that a deferring route tells its upstream: `*`, or ids ascending,
    /// separated by commas. Appends nothing and returns `false` on other routes.
    pub fn write_projects(&self, out: &mut String) -> bool {
        let Some(bearer) = &self.bearer else { return false };
        super::decide::write_projects(self.policy, &bearer.token, &bearer.granted, out)
    }
}

/// What rate limits count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitKeys {
    /// The token's account.
    pub account: AccountId,
    /// The token.
    pub token: TokenId,
    /// Position of the group of routes among those that the configuration limits.
    pub group: Option<usize>,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why, for operators.
    pub reason: Reason,
    /// Whose token it was, where one was recognised.
    pub caller: Option<Caller>,
    /// Whether the credential came in an accepted scheme.
    pub accepted_scheme: bool,
    /// How the token was recognised.
    pub lane: Lane,
}

/// Whose token it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token.
    pub token_id: TokenId,
    /// Its account.
    pub account_id: AccountId,
    /// Its user, for a personal token.
    pub user_id: Option<UserId>,
}

impl Caller {
    pub(super) fn of(token: &Token<'_>) -> Self {
        Self {
            token_id: token.id,
            account_id: token.account.id(),
            user_id: token.user.map(|user| user.id),
        }
    }
}

/// What the slow lane shall find out.
#[derive(Debug)]
pub struct SlowRequest {
    /// Keyed digest of the secret, by which verifications are remembered.
    pub digest: Digest,
    /// The tokens that the secret could be.
    pub candidates: Vec<Candidate>,
    /// Whether the credential came in an accepted scheme.
    pub accepted_scheme: bool,
}
