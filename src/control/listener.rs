//! The listener of the management API: connections within limits, until it is told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::service::Api;
use crate::edge::{ACCEPT_PAUSE, Accepted, Listener};
use crate::stream::Stream;

/// Connections at a time; further ones wait in the listen queue.
const CONNECTIONS_LIMIT: usize = 512;
/// From the end of one answer to the last byte of the next head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_LIMIT: usize = 64 * 1024;
/// Header fields of a request.
const HEADERS_LIMIT: usize = 100;

/// Accepts until told to stop, then waits for the requests that are being carried out.
pub(crate) async fn serve(listener: Listener, api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let Ok(accepting) = listener.on_runtime() else { return };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
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
                let (api, stop) = (api.clone(), stop.clone());
                open.spawn_local(async move {
                    connection(accepted, api, stop).await;
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
}

async fn connection(accepted: Accepted, api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let peer = accepted.peer;
    let Ok(stream) = accepted.stream() else { return };
    let stream = match (api.tls(), stream) {
        (Some(tls), Stream::Tcp(stream)) => {
            match tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok((stream, _))) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "no TLS with a control client"),
                Err(_) => return,
            }
        }
        (_, stream) => stream,
    };
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(peer, request).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS_LIMIT);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "control connection ended");
    }
}
