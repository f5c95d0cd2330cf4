//! A client that sends exactly the bytes that a test wants sent, and shows exactly those that
//! come back.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::wait::PATIENCE;

/// A request of HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    body: Vec<u8>,
    has_host: bool,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { head: format!("{method} {target} HTTP/1.1\r\n"), body: Vec::new(), has_host: false }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.has_host |= name.eq_ignore_ascii_case("host");
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A body of known length.
    pub fn body(self, body: &[u8]) -> Self {
        let mut request = self.header("Content-Length", &body.len().to_string());
        request.body = body.to_vec();
        request
    }

    /// What follows the head, as it is.
    pub fn raw_body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let host = if self.has_host { "" } else { "Host: api.example.com\r\n" };
        let mut bytes = format!("{}{host}\r\n", self.head).into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    fn is_head(&self) -> bool {
        self.head.starts_with("HEAD ")
    }
}

/// A response of HTTP/1.1, its body decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// As received, with the status line and the empty line.
    pub head: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The value of the one header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() < 2, "{name} is there {} times: {}", values.len(), self.head);
        values.first().copied()
    }

    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let is_named = |(given, _): &&(String, String)| given.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is_named).map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to the gate.
pub struct Connection {
    socket: Socket,
    /// Received and not yet taken.
    buffer: Vec<u8>,
}

impl Connection {
    pub fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Socket::Tcp(stream), buffer: Vec::new() }
    }

    /// From another address of the loopback network.
    pub fn tcp_from(source: &str, address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let source: SocketAddr = format!("{source}:0").parse().unwrap();
        socket.bind(&source.into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Socket::Tcp(stream), buffer: Vec::new() }
    }

    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket: Socket::Unix(stream), buffer: Vec::new() }
    }

    pub fn send(&mut self, request: &Request) -> Response {
        self.write(&request.bytes());
        self.response_to(request)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// The next response, to any method but HEAD.
    pub fn response(&mut self) -> Response {
        self.read_response(false).expect("the connection was closed without a response")
    }

    fn response_to(&mut self, request: &Request) -> Response {
        self.read_response(request.is_head())
            .unwrap_or_else(|| panic!("closed without a response to {request:?}"))
    }

    /// The next response; `None` where the connection is closed instead.
    pub fn read_response(&mut self, to_head: bool) -> Option<Response> {
        let head = self.read_head()?;
        let (status, headers) = parse_head(&head);
        let mut response = Response { status, head, headers, body: vec![], trailers: vec![] };
        if to_head || status < 200 || status == 204 || status == 304 {
            return Some(response);
        }
        if response.header("transfer-encoding").is_some() {
            (response.body, response.trailers) = self.read_chunked();
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().unwrap();
            response.body = self.take(length);
        } else {
            while self.fill() {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Some(response)
    }

    /// The head of the next response, with its empty line; what follows is for [`Self::take`].
    pub fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Some(String::from_utf8(self.take(end + 4)).unwrap());
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "closed within a head: {:?}", self.buffer);
                return None;
            }
        }
    }

    fn read_chunked(&mut self) -> (Vec<u8>, Vec<(String, String)>) {
        let mut body = Vec::new();
        loop {
            let line = self.read_line();
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.read_line();
            match line.split_once(':') {
                Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
                None => return (body, trailers),
            }
        }
    }

    fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let mut line = self.take(end + 2);
                line.truncate(end);
                return String::from_utf8(line).unwrap();
            }
            assert!(self.fill(), "closed within a line: {:?}", self.buffer);
        }
    }

    /// So many bytes, waited for.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill(), "closed after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Receives more; `false` at the end of the connection.
    pub fn fill(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut bytes),
            Socket::Unix(stream) => stream.read(&mut bytes),
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing received in time: {error}"),
        }
    }

    /// Waits for the other side to close, and says whether it did so without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse_head(head: &str) -> (u16, Vec<(String, String)>) {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    (status, parse_fields(lines))
}

/// Header or trailer lines by name and value.
pub fn parse_fields<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<(String, String)> {
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}
