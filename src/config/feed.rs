//! `[feed]`: which control a gate without a store follows, and what it keeps of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::env::{self, Environment};
use super::files::Files;
use super::read::{Table, name};
use super::report::Mistake;
use super::schema;
use super::source::{may_hold_secret, shown};
use super::tree::Node;
use super::{Endpoint, Feed, tls, upstreams};
use crate::core::token::Secret;
use crate::tls::ALPN_HTTP1;

const DEFAULT_MAX_BOOT_AGE: Duration = Duration::from_secs(24 * 3600);
const URL: &str = "write for instance \"https://control:9091\"";
const TOKEN: &str = "name the variable that holds a token of account 0 with `Service tokens:R`: \
                     `portcullis token create --account 0 --name gate --grant account_viewer`";
const CACHE: &str = "name a folder of this gate's own, for instance \"/var/lib/portcullis\"";

/// Whether a control is followed. Keys without `url` have no effect, which is told.
pub(super) fn is_followed(root: &Table<'_>) -> bool {
    let feed = root.section("feed");
    feed.allow(&schema::names(schema::keys("feed")));
    if feed.text("url").is_some() {
        return true;
    }
    for key in ["token_env", "cache", "max_boot_age", "tls"] {
        if feed.node(key).is_some() {
            feed.warn(key, Mistake::new(format!("`{key}` has no effect without [feed] `url`")));
        }
    }
    false
}

/// Reads `[feed]`; `None` where there is a mistake, which is reported.
pub(super) fn read(root: &Table<'_>, files: &Files, environment: &Environment) -> Option<Feed> {
    let (feed, base) = (root.section("feed"), files.base());
    let endpoint = feed.take("url", |node| endpoint(node, base));
    let token = token(&feed, environment);
    let cache = feed.required("cache", CACHE, |node| Ok(base.join(name(node)?)));
    let max_boot_age = feed.duration("max_boot_age", DEFAULT_MAX_BOOT_AGE);
    let endpoint = endpoint?;
    if upstreams::is_exposed(&endpoint) {
        feed.warn(
            "url",
            Mistake::new("the feed, and the token for it, cross the network without encryption")
                .help("use https://, with tls on [control] or something in front of it"),
        );
    }
    let tls = match &endpoint {
        Endpoint::Https { .. } => Some(tls::of_client(&feed, files, environment, &[ALPN_HTTP1])?),
        _ => {
            if feed.node("tls").is_some() {
                feed.warn("tls", Mistake::new("`tls` has no effect without https:// in `url`"));
            }
            None
        }
    };
    Some(Feed { endpoint, tls, token: Arc::new(token?), cache: cache?, max_boot_age })
}

fn endpoint(node: &Node, base: &Path) -> Result<Endpoint, Mistake> {
    let given = name(node)?;
    let scheme = given.to_ascii_lowercase();
    if scheme.starts_with("http://") || scheme.starts_with("https://") {
        return upstreams::endpoint(node, base);
    }
    Err(Mistake::new(format!("{} is no url of a control", shown(given))).help(URL))
}

/// Neither the variable's value nor what could be it is shown.
fn token(feed: &Table<'_>, environment: &Environment) -> Option<Secret> {
    let variable = feed.required("token_env", TOKEN, name)?;
    if may_hold_secret(variable) {
        let mistake = Mistake::new("`token_env` names a variable: it is not the token itself");
        feed.error("token_env", mistake.help(TOKEN));
        return None;
    }
    let value = env::value(variable, environment, feed, "token_env", Some(TOKEN))?;
    let token = Secret::parse(value.trim().to_owned());
    let wrong = |error: crate::core::token::Malformed| {
        let message = format!("what {} holds is no token: {error}", shown(variable));
        feed.error("token_env", Mistake::new(message).help(TOKEN));
    };
    token.map_err(wrong).ok()
}
