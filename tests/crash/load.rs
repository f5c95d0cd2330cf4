//! Clients that go on until the gate is gone.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::support::client::find;
use crate::support::world::{FOREIGN, JOBS, READER, SERVICE};
use crate::support::{Request, Upstream};

/// Two clients with fast tokens that nobody changes. One of them has one that is unknown besides.
pub struct Load {
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(gate: SocketAddr) -> Self {
        let answers = Arc::new(AtomicUsize::new(0));
        let requests = [
            vec![(JOBS, SERVICE, 200), ("/me/", READER, 200)],
            vec![("/me/", FOREIGN, 200), ("/me/", "a-token-that-nobody-has", 401)],
        ];
        let clients = requests.map(|requests| {
            let answers = answers.clone();
            std::thread::spawn(move || ask(gate, &requests, &answers))
        });
        Self { answers, clients: clients.into() }
    }

    /// Answers so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Once the gate is gone.
    pub fn end(self) {
        for client in self.clients {
            client.join().unwrap();
        }
    }
}

/// Asks by turns until the connection breaks. Until then every answer must be the right one.
fn ask(gate: SocketAddr, requests: &[(&str, &str, u16)], answers: &AtomicUsize) {
    let Ok(mut stream) = TcpStream::connect(gate) else { return };
    for (path, token, expected) in requests.iter().cycle() {
        match exchange(&mut stream, &Request::get(path).token(token).bytes()) {
            Ok(status) => assert_eq!(status, *expected, "{path} with {token}"),
            Err(_) => return,
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// The status of the answer, once all of it is there.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<u16> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let head =
        receive_until(stream, &mut answer, |answer| find(answer, b"\r\n\r\n").map(|end| end + 4))?;
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    receive_until(stream, &mut answer, |answer| (answer.len() >= head + length).then_some(0))?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

fn receive_until(
    stream: &mut TcpStream,
    answer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Result<usize> {
    let mut bytes = [0; 4096];
    loop {
        if let Some(end) = done(answer) {
            return Ok(end);
        }
        match stream.read(&mut bytes)? {
            0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
            count => answer.extend(&bytes[..count]),
        }
    }
}

/// Answers everything and, unlike others, remembers nothing of it.
pub fn quiet_upstream() -> Upstream {
    Upstream::raw(|mut stream| {
        let mut request = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            request.extend(&bytes[..count]);
            while let Some(end) = find(&request, b"\r\n\r\n") {
                request.drain(..end + 4);
                if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                    return;
                }
            }
        }
    })
}
