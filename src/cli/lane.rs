//! `portcullis lane`: runs the slow lane as a process of its own, until SIGTERM or SIGINT.

use super::exit::Failure;
use super::serve::begin;
use super::session::Session;
use crate::app::LaneProcess;
use crate::config;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let file = session.path(&session.config_file);
    let loaded = config::load_lane(&file, session.around.environment.clone());
    let config = session.or_told(loaded)?;
    let environment = begin(session, &config.warnings);
    let lane = LaneProcess::start(config, environment)?;
    lane.run(Box::pin(std::future::pending()))
        .map_err(|error| Failure::failed(format!("the slow lane cannot run: {error}")))
}
