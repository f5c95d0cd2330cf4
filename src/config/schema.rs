//! The sections of `portcullis.toml` and their keys: what is known, for the file and for
//! environment variables alike.

/// What a key holds; decides how an environment variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string: bare, or quoted as in TOML.
    Text,
    /// Anything else: as in TOML.
    Toml,
}

use Kind::{Text, Toml};

/// A key and what it holds.
pub(super) type Key = (&'static str, Kind);

/// `[upstreams]` holds one section for each upstream, with these keys.
pub(super) const UPSTREAM: &[Key] = &[
    ("endpoints", Toml),
    ("connect_timeout", Text),
    ("response_timeout", Text),
    ("idle_timeout", Text),
    ("enforces_projects", Toml),
    ("tls", Toml),
    ("http2", Toml),
];

/// Name of the section that holds sections.
pub(super) const UPSTREAMS: &str = "upstreams";

/// `[limits.groups]` holds one section for each group of routes, with these keys.
pub(super) const LIMIT_GROUP: &[Key] = &[("account", Text), ("token", Text), ("cooldown", Text)];

/// `[legacy.introspection]` has these keys.
pub(super) const INTROSPECTION: &[Key] = &[
    ("url", Text),
    ("selectors", Toml),
    ("client_id", Text),
    ("secret_file", Text),
    ("secret_env", Text),
    ("tls", Toml),
    ("timeout", Text),
    ("cache_ttl", Text),
    ("connections", Toml),
    ("audience", Text),
    ("scope", Text),
    ("account", Text),
    ("user", Text),
];

/// Every other section with its keys.
pub(super) const SECTIONS: &[(&str, &[Key])] = &[
    (
        "gate",
        &[
            ("listen", Toml),
            ("workers", Toml),
            ("conceal", Toml),
            ("forward_credential", Toml),
            ("credential_headers", Toml),
            ("allow_headers", Toml),
            ("allow_in_path", Toml),
            ("drain_delay", Text),
            ("drain_timeout", Text),
            ("listen_tls", Toml),
            ("tls", Toml),
        ],
    ),
    ("routes", &[("file", Text), ("unmatched", Text)]),
    ("permission_sets", &[("file", Text)]),
    ("keys", &[("digest", Text), ("digest_env", Text)]),
    ("store", &[("url", Text)]),
    (
        "feed",
        &[
            ("url", Text),
            ("token_env", Text),
            ("cache", Text),
            ("max_boot_age", Text),
            ("tls", Toml),
        ],
    ),
    (
        "legacy",
        &[
            ("enabled", Toml),
            ("cutoff", Text),
            ("threads", Toml),
            ("cpu_share", Toml),
            ("queue_limit", Toml),
            ("candidates_limit", Toml),
            ("cache_ttl", Text),
            ("deadline", Text),
            ("upgrade", Text),
            ("socket", Text),
            ("admin", Text),
            ("introspection", Toml),
        ],
    ),
    ("client_ip", &[("trusted_proxies", Toml), ("header", Text), ("proxy_protocol", Toml)]),
    (
        "limits",
        &[
            ("header_bytes", Toml),
            ("headers", Toml),
            ("body_bytes", Toml),
            ("header_timeout", Text),
            ("connections", Toml),
            ("failed_credentials", Text),
            ("groups", Toml),
        ],
    ),
    ("usage", &[("enabled", Toml), ("interval", Text)]),
    ("admin", &[("listen", Text)]),
    ("control", &[("listen", Text), ("tls", Toml)]),
];

/// The keys of a section; none if there is no such section.
pub(super) fn keys(section: &str) -> &'static [Key] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// The names of keys.
pub(super) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|(name, _)| *name).collect()
}

/// The names of all sections.
pub(super) fn sections() -> Vec<&'static str> {
    SECTIONS.iter().map(|(name, _)| *name).chain([UPSTREAMS]).collect()
}
