//! A bare hyper proxy: hyper's server, a client of hyper's, and nothing between them. What any
//! proxy made with hyper costs at least, for `run.py` to hold the gate against.
//!
//! It checks nothing, counts nothing and limits nothing. One thread, as the gate has one for each
//! core.
//!
//! `bare_proxy PORT UPSTREAM_PORT pooled|paired`: `pooled` sends through hyper-util's client with
//! its pool of connections, the way that hyper's users are pointed to; `paired` keeps one
//! connection to the upstream for each connection of a client, the least that can be done.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type PooledClient = Client<HttpConnector, Empty<Bytes>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: bare_proxy PORT UPSTREAM_PORT pooled|paired");
    let local =
        |port: String| Ok::<_, std::num::ParseIntError>((Ipv4Addr::LOCALHOST, port.parse()?));
    let (listen, upstream, client) = (local(next()?)?, local(next()?)?.into(), next()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        match client.as_str() {
            "pooled" => pooled(listener, upstream).await,
            "paired" => paired(listener, upstream).await,
            other => Err(format!("{other} is neither pooled nor paired").into()),
        }
    })
}

async fn pooled(
    listener: TcpListener,
    upstream: SocketAddr,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: PooledClient = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let stream = accept(&listener).await?;
        let client = client.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (client, mut head) = (client.clone(), request.into_parts().0);
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            let uri = format!("http://{upstream}{target}");
            head.uri = uri.parse::<Uri>().expect("invariant: an address and a path");
            async move { client.request(Request::from_parts(head, Empty::new())).await }
        });
        tokio::task::spawn_local(
            server::conn::http1::Builder::new().serve_connection(stream, service),
        );
    }
}

async fn paired(
    listener: TcpListener,
    upstream: SocketAddr,
) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        let stream = accept(&listener).await?;
        let onward = TcpStream::connect(upstream).await?;
        onward.set_nodelay(true)?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(onward)).await?;
        tokio::task::spawn_local(connection);
        let sender = std::rc::Rc::new(tokio::sync::Mutex::new(sender));
        let service = service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move { sender.lock().await.send_request(request).await }
        });
        tokio::task::spawn_local(
            server::conn::http1::Builder::new().serve_connection(stream, service),
        );
    }
}

async fn accept(listener: &TcpListener) -> std::io::Result<TokioIo<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}
