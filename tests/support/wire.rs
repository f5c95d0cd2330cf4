//! A wire between a gate and its control that can be cut: a small TCP proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a wire does with what goes over it.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Where it leads; nowhere: connections are closed at once.
    target: Option<SocketAddr>,
    /// Bytes of answers after which a connection is cut.
    answers: usize,
}

/// A listener whose connections lead elsewhere.
pub struct Wire {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan { target: Some(target), answers: usize::MAX }));
        let open = Arc::<Mutex<Vec<TcpStream>>>::default();
        let wire = Self { address, plan: plan.clone(), open: open.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Before the plan is looked at: whoever changes it then hangs up on this one too.
                let mut open = open.lock().unwrap();
                let plan = *plan.lock().unwrap();
                let server = plan.target.and_then(|target| TcpStream::connect(target).ok());
                let Some(server) = server else { continue };
                open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                drop(open);
                join(client, server, plan.answers);
            }
        });
        wire
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads elsewhere from now on, or nowhere.
    pub fn lead(&self, target: Option<SocketAddr>) {
        self.plan.lock().unwrap().target = target;
        self.hang_up();
    }

    /// Cuts each connection after so many bytes of answers.
    pub fn cut_after(&self, answers: usize) {
        self.plan.lock().unwrap().answers = answers;
        self.hang_up();
    }

    fn hang_up(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn join(client: TcpStream, server: TcpStream, answers: usize) {
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || pump(from, to, usize::MAX));
    std::thread::spawn(move || pump(server, client, answers));
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut left: usize) {
    let mut buffer = [0; 16 * 1024];
    while left > 0 {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        let count = count.min(left);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        left -= count;
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
