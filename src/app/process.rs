//! What the processes that go on share, the gate and a slow lane of its own: a runtime on the first
//! thread, reloads, and being told to end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::reload::FileWatch;
use crate::observe::admin::Administered;

/// How often changed files are looked for. A change is put in force at the second look.
const FILE_INTERVAL: Duration = Duration::from_millis(500);

/// How a process is told to stop, besides by signals.
pub type Stop = Pin<Box<dyn Future<Output = ()>>>;

/// Serves on this thread to the end.
///
/// # Errors
/// The operating system's.
pub(super) fn run_here(serving: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, serving)?;
    // What hashes or reads for an operator, or reloads, must not hold up the end.
    runtime.shutdown_background();
    Ok(())
}

/// SIGTERM, SIGINT, or what was given to stop by: noticed from when this is made.
pub(super) struct Termination {
    stop: Stop,
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    pub(super) fn new(stop: Stop) -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { stop, terminate, interrupt })
    }

    pub(super) async fn wait(self) {
        let Self { stop, mut terminate, mut interrupt } = self;
        tokio::select! {
            () = stop => {}
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
    }
}

/// Reloads on SIGHUP and when a file has changed.
pub(super) fn spawn_reloads(control: Arc<dyn Administered>) -> io::Result<JoinHandle<()>> {
    let hangup = signal(SignalKind::hangup())?;
    Ok(tokio::task::spawn_local(reload_when_asked(control, hangup)))
}

async fn reload_when_asked(control: Arc<dyn Administered>, mut hangup: Signal) {
    let mut watch = FileWatch::new(&control.files());
    let mut interval = tokio::time::interval(FILE_INTERVAL);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = interval.tick() => watch.changed(&control.files()),
        };
        if asked {
            let control = control.clone();
            // What went wrong is logged where it is found.
            let _ = tokio::task::spawn_blocking(move || control.reload()).await;
        }
    }
}
