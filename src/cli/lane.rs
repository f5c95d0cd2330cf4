//! `portcullis lane`: runs the slow lane as a process of its own, until SIGTERM or SIGINT.

use tracing_subscriber::filter::LevelFilter;

use super::exit::Failure;
use super::session::Session;
use crate::app::{self, LaneProcess};
use crate::config;
use crate::observe::log;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let file = session.path(&session.config_file);
    let loaded = config::load_lane(&file, session.around.environment.clone());
    let config = session.or_told(loaded)?;
    session.say_raw(&config::render(&config.warnings));
    let environment = session.around.environment.clone();
    log::start(LevelFilter::INFO, |name| environment.get(name).cloned());
    app::harden();
    let lane = LaneProcess::start(config, environment.into_iter().collect())?;
    lane.run(Box::pin(std::future::pending()))
        .map_err(|error| Failure::failed(format!("the slow lane cannot run: {error}")))
}
