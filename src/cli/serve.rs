//! `portcullis serve`: runs what the configuration enables, until SIGTERM or SIGINT.

use tracing_subscriber::filter::LevelFilter;

use super::exit::Failure;
use super::session::Session;
use crate::app::{self, AppError, Gate};
use crate::config;
use crate::observe::log;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let config = session.load_config()?;
    session.say_raw(&config::render(&config.warnings));
    let environment = session.around.environment.clone();
    log::start(LevelFilter::INFO, |name| environment.get(name).cloned());
    app::harden();
    let gate = Gate::start(config, environment.into_iter().collect())?;
    gate.run(Box::pin(std::future::pending()))
        .map_err(|error| Failure::failed(format!("the gate cannot run: {error}")))
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::failed(error.to_string())
    }
}
