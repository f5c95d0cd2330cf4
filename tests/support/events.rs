//! Server-sent events: who sends them, and who listens until the gate cuts the stream.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::upstream::read_request;
use super::{Connection, Gate, Request, Upstream, eventually};

/// How long a stream may go on once its token is not valid any more.
pub const CUT: Duration = Duration::from_secs(1);

/// An upstream of events, one every 20 ms for as long as somebody listens.
pub fn events() -> Upstream {
    Upstream::raw(|mut stream| {
        let mut buffer = Vec::new();
        while read_request(&mut stream, &mut buffer).is_some() {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            while send_event(&mut stream).is_ok() {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    })
}

fn send_event(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"9\r\ndata: x\n\n\r\n")
}

/// A connection on which events come in.
pub fn listening(gate: &Gate, token: &str) -> Connection {
    listening_with(gate, &Request::get("/free/events").token(token))
}

/// Likewise, by this request.
pub fn listening_with(gate: &Gate, request: &Request) -> Connection {
    let mut connection = eventually("a token that was just made is in force", || {
        let mut connection = gate.connect();
        connection.write(&request.bytes());
        connection.read_head().unwrap().starts_with("HTTP/1.1 200").then_some(connection)
    });
    connection.take(28);
    connection
}

/// Reads to the end; how long that took, and whether it was the end of the body.
pub fn cut(connection: &mut Connection) -> (Duration, bool) {
    let began = Instant::now();
    let rest = connection.rest();
    (began.elapsed(), rest.ends_with(b"0\r\n\r\n"))
}
