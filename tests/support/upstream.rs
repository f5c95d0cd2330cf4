//! An upstream that records exactly the bytes it received and answers as a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::client::{find, parse_fields};
use super::wait::{PATIENCE, eventually};

/// Header or trailer fields, by name and value.
pub type Fields = Vec<(String, String)>;

/// A request as the upstream received it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The request line.
    pub line: String,
    /// The head as received, with its empty line.
    pub head: String,
    pub headers: Fields,
    /// Decoded where it was chunked.
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there more than once: {}", self.head);
        value
    }

    /// Names of all headers, lower case, ascending.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Keep,
    Close,
}

/// A listener of HTTP/1.1 on threads.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Upstream {
    /// Answers everything with 200 and `ok`.
    pub fn start() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    }

    /// Answers everything with these bytes and keeps the connection.
    pub fn answering(answer: &str) -> Self {
        let answer = answer.as_bytes().to_vec();
        Self::scripted(move |_, stream| {
            let _ = stream.write_all(&answer);
            Next::Keep
        })
    }

    /// Answers each request, once all of it is there, as `script` does.
    pub fn scripted(
        script: impl Fn(&Seen, &mut TcpStream) -> Next + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let mut upstream = Self::raw(move |mut stream| {
            let mut buffer = Vec::new();
            while let Some(request) = read_request(&mut stream, &mut buffer) {
                record.lock().unwrap().push(request.clone());
                if script(&request, &mut stream) == Next::Close {
                    return;
                }
            }
        });
        upstream.seen = seen;
        upstream
    }

    /// Gives each connection to `serve`, on a thread of its own.
    pub fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        let connections = Arc::new(Mutex::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *count.lock().unwrap() += 1;
                let serve = serve.clone();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, seen: Arc::default(), connections }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything received so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request received.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream received nothing")
    }

    pub fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests at the upstream"), || {
            (self.seen().len() >= count).then_some(())
        });
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// A port that nobody listens on.
pub fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Reads one request; `None` where the connection is at its end.
pub fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head = read_head(stream, buffer)?;
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = parse_fields(lines);
    let mut seen = Seen { line, head, headers, ..Seen::default() };
    if seen.header("transfer-encoding").is_some() {
        (seen.body, seen.trailers) = read_chunked(stream, buffer)?;
    } else if let Some(length) = seen.header("content-length") {
        let length = length.parse().unwrap();
        seen.body = take(stream, buffer, length)?;
    }
    Some(seen)
}

/// Reads a head with its empty line; what follows stays in the buffer.
pub fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let end = loop {
        match find(buffer, b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => fill(stream, buffer)?,
        }
    };
    Some(String::from_utf8_lossy(&take(stream, buffer, end)?).into_owned())
}

fn read_chunked(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&read_line(stream, buffer)?, 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(take(stream, buffer, size)?);
        take(stream, buffer, 2)?;
    }
    let mut lines = Vec::new();
    loop {
        let line = read_line(stream, buffer)?;
        if line.is_empty() {
            return Some((body, parse_fields(lines.iter().map(String::as_str))));
        }
        lines.push(line);
    }
}

fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let end = loop {
        match find(buffer, b"\r\n") {
            Some(end) => break end,
            None => fill(stream, buffer)?,
        }
    };
    let mut line = take(stream, buffer, end + 2)?;
    line.truncate(end);
    String::from_utf8(line).ok()
}

fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while buffer.len() < count {
        fill(stream, buffer)?;
    }
    Some(buffer.drain(..count).collect())
}

/// Receives more; `None` at the end of the connection, however it ended.
fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 64 * 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return None,
            Ok(count) => {
                buffer.extend(&bytes[..count]);
                return Some(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
