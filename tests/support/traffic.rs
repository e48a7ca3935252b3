//! Clients that call all the time while a test does something to the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use super::client::{Client, Response};
use super::request::Request;
use super::wait;

/// Running clients.
#[derive(Debug)]
pub struct Traffic {
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What the clients heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Answers that were not what they should be, in words.
    pub faults: Vec<String>,
}

impl Tally {
    /// Fails the test unless every answer had `status`, nothing was at fault, and there were any.
    #[track_caller]
    pub fn assert_all(&self, status: u16) {
        assert_eq!(self.faults, [""; 0]);
        assert_eq!(
            self.statuses.keys().copied().collect::<Vec<_>>(),
            [status],
            "{self:?}"
        );
    }

    /// Answers with `status`.
    pub fn count(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }
}

impl Traffic {
    /// `clients` connections that each send `request` again and again, as soon as it is answered.
    pub fn of(address: SocketAddr, clients: usize, request: &Request) -> Self {
        Self::checked(address, clients, request, |_| None)
    }

    /// Like [`Traffic::of`], and each answer is looked at.
    pub fn checked(
        address: SocketAddr,
        clients: usize,
        request: &Request,
        check: fn(&Response) -> Option<String>,
    ) -> Self {
        let (ended, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            let bytes = request.bytes();
            thread::spawn(move || call(address, &bytes, check, &ended, &answered))
        };
        let clients = (0..clients).map(client).collect();
        Self {
            ended,
            answered,
            clients,
        }
    }

    /// Waits until `count` more answers came than there are now.
    pub fn wait_for_more(&self, count: usize) {
        let enough = self.answered.load(Ordering::SeqCst) + count;
        wait::until("more answers", || {
            self.answered.load(Ordering::SeqCst) >= enough
                || self.clients.iter().all(JoinHandle::is_finished)
        });
    }

    /// Ends it; what all clients heard.
    pub fn stop(self) -> Tally {
        self.ended.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client does not panic");
            for (status, count) in tally.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
            all.faults.extend(tally.faults);
        }
        all
    }
}

fn call(
    address: SocketAddr,
    request: &[u8],
    check: fn(&Response) -> Option<String>,
    ended: &AtomicBool,
    answered: &AtomicUsize,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::connect(address);
    while !ended.load(Ordering::SeqCst) {
        let answer = client.try_send(request).and_then(|()| client.try_read());
        match answer {
            Ok(answer) => {
                *tally.statuses.entry(answer.status).or_default() += 1;
                tally.faults.extend(check(&answer));
                answered.fetch_add(1, Ordering::SeqCst);
                if answer.header("connection") == Some("close") {
                    client = Client::connect(address);
                }
            }
            Err(broken) => {
                tally.faults.push(format!("{broken:?}"));
                break;
            }
        }
    }
    tally
}
