//! A name server on loopback that says what a test tells it to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is said of a name.
#[derive(Clone, Debug)]
pub enum Said {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Nothing but a code: 2 is a failure of the server, 3 that there is no such name.
    Code(u8),
    /// These bytes, behind the id of the question.
    Bytes(Vec<u8>),
}

/// A running server. Names that it was told nothing of do not exist.
#[derive(Debug)]
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<HashMap<String, Said>>,
    asked: AtomicUsize,
    ended: AtomicBool,
}

impl NameServer {
    /// Starts one that knows no name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let patience = Some(Duration::from_millis(50));
        socket.set_read_timeout(patience).expect("it is a socket");
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&socket, &serving));
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Says this of `name` from now on.
    pub fn say(&self, name: &str, said: Said) {
        let names = self.shared.names.lock();
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), said);
    }

    /// Says that `name` has these addresses, for one second.
    pub fn addresses(&self, name: &str, addresses: &[SocketAddr]) {
        let addresses = addresses.iter().map(SocketAddr::ip).collect();
        self.say(name, Said::Addresses(addresses, 1));
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut question = [0; 512];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else {
            continue;
        };
        let answer = answer(&question[..length], shared);
        shared.asked.fetch_add(1, Ordering::SeqCst);
        // Whoever asked may be gone.
        let _ = answer.map(|answer| socket.send_to(&answer, from));
    }
}

/// The answer to a question (RFC 1035, section 4.1).
fn answer(question: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*question.get(at)?);
        let label = question.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = question.get(12..at + 4)?;
    let names = shared.names.lock().unwrap_or_else(PoisonError::into_inner);
    let said = names
        .get(&labels.join("."))
        .cloned()
        .unwrap_or(Said::Code(3));
    let (code, records) = match said {
        Said::Bytes(bytes) => return Some([&question[..2], &bytes].concat()),
        Said::Code(code) => (code, Vec::new()),
        Said::Addresses(addresses, ttl) => {
            let of_kind = |address: &IpAddr| address.is_ipv4() == (kind == 1);
            let wanted = addresses
                .into_iter()
                .filter(|one| matches!(kind, 1 | 28) && of_kind(one));
            (
                0,
                wanted.map(|address| record(kind, ttl, address)).collect(),
            )
        }
    };
    let count = u16::try_from(records.len())
        .expect("few records")
        .to_be_bytes();
    // A response to a query, recursion asked for and available.
    let head = [
        question[0],
        question[1],
        0x81,
        0x80 | code,
        0,
        1,
        count[0],
        count[1],
        0,
        0,
        0,
        0,
    ];
    Some([&head, asked, &records.concat()].concat())
}

fn record(kind: u16, ttl: u32, address: IpAddr) -> Vec<u8> {
    let data = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u16::try_from(data.len()).expect("an address is short");
    [
        // The name is that of the question.
        &[0xc0, 12][..],
        &kind.to_be_bytes(),
        &1_u16.to_be_bytes(),
        &ttl.to_be_bytes(),
        &length.to_be_bytes(),
        &data,
    ]
    .concat()
}
