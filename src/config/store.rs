//! `[store]`, `[admin]` and `[control]`: where the truth is, and who may look.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::read::{Table, name};
use super::report::Mistake;
use super::schema;
use super::tree::Node;
use super::{Listen, StoreUrl, listen};

const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const DEFAULT_CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);
const EXAMPLE: &str = "write url = \"sqlite:portcullis.db\"";

/// Reads `[store]`; `None` where there is a mistake, which is reported.
pub(super) fn read(root: &Table<'_>, base: &Path) -> Option<StoreUrl> {
    let store = root.section("store");
    store.allow(&schema::names(schema::keys("store")));
    store.required("url", EXAMPLE, |node| url(node, base))
}

fn url(node: &Node, base: &Path) -> Result<StoreUrl, Mistake> {
    let given = name(node)?;
    if given.starts_with("postgres:") || given.starts_with("postgresql:") {
        return Err(
            Mistake::new("a store in PostgreSQL is not available in this version").help(EXAMPLE)
        );
    }
    let Some(path) = given.strip_prefix("sqlite:") else {
        return Err(Mistake::new("the url must begin with `sqlite:`").help(EXAMPLE));
    };
    if path.starts_with("//") && !path.starts_with("///") {
        return Err(Mistake::new("`sqlite://` would need an empty host and a whole path")
            .help("write sqlite:PATH, without slashes in front of a relative path"));
    }
    if path.is_empty() || path.ends_with('/') || path.contains(":memory:") {
        return Err(Mistake::new("the url names no file for the database").help(EXAMPLE));
    }
    Ok(StoreUrl::Sqlite(base.join(path.strip_prefix("//").unwrap_or(path))))
}

/// Refuses `[store]` where a control is followed: which of the two would be the truth?
pub(super) fn refuse_beside_feed(root: &Table<'_>) {
    let store = root.section("store");
    store.allow(&schema::names(schema::keys("store")));
    if store.node("url").is_some() {
        store.error(
            "url",
            Mistake::new("[feed] `url` says already where changes come from")
                .help("keep one of them: a gate that follows a control has no store of its own"),
        );
    }
}

/// Reads `[admin]`; an empty `listen` turns it off.
pub(super) fn admin(root: &Table<'_>, base: &Path) -> Option<Listen> {
    let admin = root.section("admin");
    admin.allow(&schema::names(schema::keys("admin")));
    listen::optional(&admin, "listen", DEFAULT_ADMIN, base)
}

/// Reads `[control]`; without the section, or with an empty `listen`, it is off.
pub(super) fn control(root: &Table<'_>, base: &Path) -> Option<Listen> {
    let control = root.section("control");
    control.allow(&schema::names(schema::keys("control")));
    if control.is_empty() {
        return None;
    }
    let address = listen::optional(&control, "listen", DEFAULT_CONTROL, base)?;
    let has_tls = control.node("tls").is_some();
    if has_tls && matches!(address, Listen::Unix(_)) {
        control.error(
            "tls",
            Mistake::new("TLS is not spoken on a unix socket")
                .help("remove the key: nobody can listen in there"),
        );
    }
    if !has_tls && !listen::is_local(&address) {
        control.warn(
            "listen",
            Mistake::new("[control] sends tokens without encryption").help(
                "write tls = { certificate = \"tls.crt\", key = \"tls.key\" }, or listen on a \
                 loopback address",
            ),
        );
    }
    Some(address)
}
