//! The listener of the management API: connections within limits, until it is told to stop.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::sending::Sending;
use super::service::Api;
use crate::edge::connection::{Connection, carry, handshake};
use crate::edge::deadline::{Deadlines, TICK};
use crate::edge::guard::HeadLimits;
use crate::edge::{ACCEPT_PAUSE, Accepted, Listener};
use crate::stream::Stream;
use crate::tls::Protocol;

/// Connections at a time; further ones wait in the listen queue.
const CONNECTIONS_LIMIT: usize = 512;
/// For TLS, and from the first byte of a head to its last.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, and its fields.
const HEAD_LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 100 };

/// Accepts until told to stop, then waits for the requests that are being carried out.
pub(crate) async fn serve(listener: Listener, api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let Ok(accepting) = listener.on_runtime() else { return };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let deadlines = Rc::new(Deadlines::default());
    let ticking = tokio::task::spawn_local(tick(deadlines.clone()));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = open.join_next() => continue,
            accepted = async {
                let permit = connections.clone().acquire_owned().await;
                (permit, accepting.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(permit), Ok(accepted)) => {
                let connection = connection(accepted, api.clone(), &deadlines, stop.clone());
                open.spawn_local(async move {
                    connection.await;
                    drop(permit);
                });
            }
            (Err(_), _) => break,
            (_, Err(error)) => {
                tracing::warn!(%error, "a control connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(accepting);
    while open.join_next().await.is_some() {}
    ticking.abort();
}

async fn tick(deadlines: Rc<Deadlines>) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        deadlines.tick(Instant::now());
    }
}

fn connection(
    accepted: Accepted,
    api: Arc<Api>,
    deadlines: &Rc<Deadlines>,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let watch = deadlines.watch();
    let connection = Rc::new(Connection::new(accepted.peer, watch, HEADER_TIMEOUT));
    async move {
        let Ok(stream) = accepted.stream() else { return };
        let stream = match (api.tls(), stream) {
            (tls @ Some(_), stream @ Stream::Tcp(_)) => {
                match handshake(&connection, tls, stream).await {
                    Ok(stream) => stream,
                    Err(error) => return tracing::debug!(%error, "no TLS with a control client"),
                }
            }
            (_, stream) => stream,
        };
        let service = service_fn(|request: Request<Incoming>| {
            let answering = connection.begin(request.version());
            let (api, connection) = (api.clone(), connection.clone());
            async move {
                let answer = api.answer(&connection, request).await;
                Ok::<_, Infallible>(answer.map(|body| Sending::new(body, answering)))
            }
        });
        carry(&connection, stream, Some(Protocol::Http1), HEAD_LIMITS, service, stop).await;
    }
}
