//! `lane`: the slow lane as a process of its own, from its socket to the last answer.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::process::{Stop, Termination, run_here, spawn_reloads};
use super::reload::{ReloadError, Reloaded, one_at_a_time};
use super::serve::{AppError, Control};
use crate::config::{self, LaneConfig, Listen};
use crate::core::record::TokenId;
use crate::core::token::Secret;
use crate::edge::{ACCEPT_PAUSE, Accepted, Listener};
use crate::legacy::{Asked, LaneObserver, LaneServer};
use crate::observe::admin::{self, Administered};
use crate::observe::metrics::LaneProcessMetrics;
use crate::stream::Stream;

/// Gates that are connected at a time.
const CONNECTIONS_LIMIT: usize = 64;

/// A slow lane whose threads are running and whose socket is bound; [`LaneProcess::run`] accepts.
pub struct LaneProcess {
    listener: Listener,
    admin: Option<Listener>,
    shared: Arc<LaneControl>,
}

/// What the admin listener can ask of it.
struct LaneControl {
    server: Arc<LaneServer>,
    metrics: Arc<LaneProcessMetrics>,
    config: ArcSwap<LaneConfig>,
    environment: Vec<(String, String)>,
    is_ready: AtomicBool,
}

impl LaneProcess {
    /// Binds the socket, for this user alone, and starts the threads.
    ///
    /// # Errors
    /// [`AppError`]; then nothing is left running.
    pub fn start(config: LaneConfig, environment: Vec<(String, String)>) -> Result<Self, AppError> {
        let listener = Listener::bind(&Listen::Unix(config.socket.clone()))?;
        // Who connects before that is told by the user that it runs as.
        set_permissions(&config.socket, Permissions::from_mode(0o600))?;
        let admin = config.legacy.admin.as_ref().map(Listener::bind).transpose()?;
        let metrics = LaneProcessMetrics::new();
        let server = Arc::new(LaneServer::start(&config.legacy, metrics.clone())?);
        let (config, is_ready) = (ArcSwap::from_pointee(config), AtomicBool::new(true));
        let shared = Arc::new(LaneControl { server, metrics, config, environment, is_ready });
        Ok(Self { listener, admin, shared })
    }

    /// Serves gates until `stop`, or SIGTERM or SIGINT, then drains: what they have asked by then
    /// is answered, for as long as anybody waits for it.
    ///
    /// # Errors
    /// The operating system's, before anything is accepted.
    pub fn run(self, stop: Stop) -> io::Result<()> {
        run_here(self.serve_until(stop))
    }

    async fn serve_until(self, stop: Stop) -> io::Result<()> {
        let Self { listener, admin, shared } = self;
        let termination = Termination::new(stop)?;
        spawn_reloads(shared.clone())?;
        if let Some(admin) = admin {
            tracing::info!(address = admin.address(), "admin listening");
            tokio::task::spawn_local(admin::serve(admin, shared.clone()));
        }
        tracing::info!(address = listener.address(), "slow lane listening");
        let (stop_serving, stopped) = watch::channel(false);
        let mut serving =
            tokio::task::spawn_local(accept(listener, shared.server.clone(), stopped));
        tokio::select! {
            () = termination.wait() => {}
            ended = &mut serving => return ended.unwrap_or_else(|error| Err(io::Error::other(error))),
        }
        let timeout = shared.config.load().legacy.deadline;
        tracing::info!(?timeout, "draining");
        shared.is_ready.store(false, Ordering::Relaxed);
        stop_serving.send_replace(true);
        serving.await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        tracing::info!("drained");
        Ok(())
    }
}

/// Lets gates ask until told to stop, then waits for what they have asked by then, for as long as
/// anybody waits for it.
async fn accept(
    listener: Listener,
    server: Arc<LaneServer>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let accepting = listener.on_runtime()?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let mut serving = JoinSet::new();
    loop {
        let place = connections.clone().acquire_owned();
        let (place, accepted) = tokio::select! {
            accepted = async { (place.await, accepting.accept().await) } => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted.and_then(Accepted::stream) {
            Ok(Stream::Unix(stream)) => {
                let connection = server.clone().connection(stream, stop.clone());
                serving.spawn_local(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The listener is a unix socket.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a gate's connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while serving.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = async { while serving.join_next().await.is_some() {} };
    if tokio::time::timeout(server.deadline(), ended).await.is_err() {
        tracing::warn!("questions were left unanswered at the end of [legacy] deadline");
    }
    Ok(())
}

impl Administered for LaneControl {
    fn metrics(&self) -> Vec<u8> {
        self.metrics.render()
    }

    fn ready(&self) -> Result<String, &'static str> {
        if self.is_ready.load(Ordering::Relaxed) { Ok(String::new()) } else { Err("draining") }
    }

    fn reload(&self) -> Result<Reloaded, ReloadError> {
        one_at_a_time(|| self.try_reload(), &self.metrics.config_last_reload_successful)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.config.load().file.clone()]
    }

    fn explainer(&self) -> Option<&Control> {
        None
    }
}

impl LaneControl {
    fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        let current = self.config.load_full();
        let mut next = config::load_lane(&current.file, self.environment.iter().cloned())
            .map_err(ReloadError::Config)?;
        let needs_restart = keep_what_needs_restart(&mut next, &current);
        if next.legacy != current.legacy {
            self.server.replace(&next.legacy)?;
        }
        self.config.store(Arc::new(next));
        Ok(Reloaded { needs_restart })
    }
}

/// Listeners stay as they are until a restart.
fn keep_what_needs_restart(next: &mut LaneConfig, current: &LaneConfig) -> Vec<&'static str> {
    let changed = [
        (next.socket != current.socket, "legacy.socket"),
        (next.legacy.admin != current.legacy.admin, "legacy.admin"),
    ];
    next.socket.clone_from(&current.socket);
    next.legacy.socket.clone_from(&current.legacy.socket);
    next.legacy.admin.clone_from(&current.legacy.admin);
    changed.into_iter().filter_map(|(changed, key)| changed.then_some(key)).collect()
}

/// A gate tells its store whose hash cost what, and which token a secret is; this process tells
/// what it has worked.
impl LaneObserver for LaneProcessMetrics {
    fn verified(&self, seconds: f64) {
        self.lane.verify_duration.observe(seconds);
    }

    fn hashed(&self, _token: TokenId, _cpu: Duration) {}

    fn matched(&self, _token: TokenId, _secret: &Secret) {}

    fn asked(&self, _outcome: Asked, _took: Duration) {}

    fn shed(&self) {
        self.lane.shed.inc();
    }

    fn queue_depth(&self, depth: usize) {
        self.lane.queue_depth.set(depth as i64);
    }

    fn reached(&self, _is_reached: bool) {}

    fn answered(&self, cpu_seconds: f64, seconds: f64) {
        self.lane.cpu_seconds.inc_by(cpu_seconds);
        self.lane.wait.observe(seconds);
    }
}
