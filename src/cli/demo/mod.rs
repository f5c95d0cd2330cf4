//! `portcullis demo`: a gate before a sample API, with sample accounts and tokens, in a folder
//! that is removed again.

mod sample_api;
mod sample_data;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use clap::Args;
use tracing_subscriber::filter::LevelFilter;

use self::sample_data::Sample;
use super::exit::Failure;
use super::init;
use super::session::Session;
use crate::app::{self, Gate};
use crate::config;
use crate::observe::log;
use crate::store::SqliteStore;

/// Where the demo listens if it can.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

/// Where to listen.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where clients connect; else 127.0.0.1:8080, or any free port
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the management API is; else 127.0.0.1:9091, or any free port
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
}

pub(super) fn run(demo: &Demo, session: &mut Session<'_>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("the demo cannot start: {error}"));
    log::start(LevelFilter::WARN, |name| session.around.environment.get(name).cloned());
    app::harden();
    let folder = tempfile::Builder::new().prefix("portcullis-demo-").tempdir().map_err(failed)?;
    let upstream = sample_api::start().map_err(failed)?;
    let listen = demo.listen.unwrap_or_else(|| free(LISTEN));
    let (admin, control) = (free(ADMIN), demo.control.unwrap_or_else(|| free(CONTROL)));
    let text = configuration(listen, admin, control, upstream);
    init::write_configuration(folder.path(), &text)?;
    let file = folder.path().join("portcullis.toml");
    let config = config::load(&file, std::iter::empty())
        .map_err(|errors| Failure::failed(config::render(&errors)))?;
    let store = SqliteStore::create(
        super::session::store_path(&config)?,
        crate::app::store_rules(&config),
    )?;
    let sample = sample_data::fill(&store, &config, session.around.now)?;
    drop(store);
    let gate = Gate::start(config, Vec::new())?;
    let at = Addresses {
        gate: gate.addresses().concat(),
        admin: gate.admin_address().unwrap_or_default(),
        control: gate.control_address().unwrap_or_default(),
    };
    session.print(&introduction(&sample, &at, folder.path()))?;
    gate.run(Box::pin(std::future::pending())).map_err(failed)?;
    // A pipe that is gone need not hear of the end.
    let _ = writeln!(session.around.stderr, "\nstopped; {} is removed", folder.path().display());
    Ok(())
}

/// The address if nobody listens there, else any free port beside it.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

/// Where everything is, with the ports that the system chose.
struct Addresses {
    gate: String,
    admin: String,
    control: String,
}

fn configuration(
    listen: SocketAddr,
    admin: SocketAddr,
    control: SocketAddr,
    upstream: SocketAddr,
) -> String {
    format!(
        "[gate]\nlisten = [\"{listen}\"]\ndrain_timeout = \"2s\"\n\n\
         [upstreams.api]\nendpoints = [\"http://{upstream}\"]\nenforces_projects = true\n\n\
         [store]\nurl = \"sqlite:portcullis.db\"\n\n[admin]\nlisten = \"{admin}\"\n\n\
         [control]\nlisten = \"{control}\"\n"
    )
}

/// What to try, as lines for a shell.
fn introduction(sample: &Sample, at: &Addresses, folder: &Path) -> String {
    let Addresses { gate: address, admin, control } = at;
    let curl = |method: &str, path: &str, token: &str| {
        let method = if method == "GET" { String::new() } else { format!(" -X {method}") };
        format!("curl -i{method} -H 'Authorization: Bearer {token}' 'http://{address}{path}'")
    };
    let run = "/api/v2/accounts/1/jobs/77/run/";
    let steps = [
        (
            "Allowed: the token may run jobs of project 42, and job 77 is one of them.",
            curl("POST", run, &sample.allowed),
        ),
        (
            "Denied by IP rules: account 2 lets in 203.0.113.0/24 only.",
            curl("GET", "/api/v2/accounts/2/projects/", &sample.fenced),
        ),
        (
            "Denied for a missing permission: running jobs is not creating projects.",
            curl("POST", "/api/v3/accounts/1/projects/", &sample.allowed),
        ),
        (
            "A legacy token: known by a password hash only, verified in the slow lane, then remembered.",
            curl("GET", "/api/v2/accounts/1/jobs/?project_id=42", &sample.legacy),
        ),
        ("Denied: the token has expired.", curl("POST", run, &sample.expired)),
    ];
    let mut text = format!("Portcullis is before a sample API on http://{address}\n\n");
    for (what, line) in steps {
        text.push_str(&format!("# {what}\n{line}\n\n"));
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "portcullis".into());
    let program = format!("{} -c {}", program.display(), folder.join("portcullis.toml").display());
    text.push_str(&format!(
        "# Why was it denied?\n{program} explain --token-id 2 --method GET --path /api/v2/accounts/2/projects/ --ip 127.0.0.1\n\n\
         # What was decided:\ncurl -s http://{admin}/metrics | grep portcullis_decisions_total\n\n\
         # Revoke the first token and try it again; the gate follows within 250 ms:\n{program} token revoke 1\n\n\
         # Manage the account over HTTP; http://{control}/openapi.json describes the API:\n\
         curl -s -H 'Authorization: Bearer {}' http://{control}/api/v3/accounts/1/service-tokens/\n\n\
         Ctrl-C stops, and leaves nothing behind.\n",
        sample.admin
    ));
    text
}
