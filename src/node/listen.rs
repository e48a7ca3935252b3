//! What the node needs of the system before workers run: their listening sockets, their cores,
//! and enough descriptors.
//!
//! Every worker gets sockets of its own for every address (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no accept is shared. They are bound early, for an address in use
//! must fail before minutes of loading, and listen late, so that nobody connects to a node that
//! does not serve yet.

use super::NodeError;
use crate::io::BACKLOG;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Bytes of an answer that the kernel queues for a client beside what is on its way. Without a bound
/// it is megabytes, filled at once for each of many clients that take an answer slowly; and a write
/// that waits goes on only after a third of them. Connections inherit it from their listener.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Descriptors for all but connections: rings, files, the admin listener.
const DESCRIPTORS_BESIDE: u64 = 256;

/// Sockets that are bound and do not listen yet.
#[derive(Debug)]
pub(super) struct Sockets {
    /// What they are bound to, in the order of the settings.
    pub(super) addresses: Vec<SocketAddr>,
    /// For each worker, one socket for each address.
    workers: Vec<Vec<Socket>>,
}

/// Binds every address for every worker.
pub(super) fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Sockets, NodeError> {
    let mut sockets = Sockets {
        addresses: Vec::new(),
        workers: (0..workers).map(|_| Vec::new()).collect(),
    };
    for &address in addresses {
        let fail = |cause| NodeError::Listen { address, cause };
        let mut bound = address;
        for (index, worker) in sockets.workers.iter_mut().enumerate() {
            let socket = bind_one(bound).map_err(fail)?;
            if index == 0 {
                // Port 0 becomes the one that the system chose, and all workers share it.
                bound = socket
                    .local_addr()
                    .map_err(fail)?
                    .as_socket()
                    .unwrap_or(address);
            }
            worker.push(socket);
        }
        sockets.addresses.push(bound);
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, each listened on only if it is written.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Sockets {
    /// Lets them listen; the listeners of each worker.
    pub(super) fn listen(self) -> Result<Vec<Vec<TcpListener>>, NodeError> {
        let addresses = self.addresses;
        let listen = |(socket, &address): (Socket, &SocketAddr)| {
            socket
                .listen(BACKLOG)
                .map_err(|cause| NodeError::Listen { address, cause })?;
            Ok(TcpListener::from(socket))
        };
        let workers = self.workers.into_iter();
        workers
            .map(|sockets| sockets.into_iter().zip(&addresses).map(listen).collect())
            .collect()
    }
}

/// The core of each worker. They are pinned if there is one worker for each core the process
/// may use; with fewer or more of them the kernel places them better.
pub(super) fn cores(workers: usize) -> Vec<Option<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_or_else(
        |_| Vec::new(),
        |set| {
            (0..CpuSet::count())
                .filter(|&core| set.is_set(core).unwrap_or(false))
                .collect()
        },
    );
    if allowed.len() == workers {
        allowed.into_iter().map(Some).collect()
    } else {
        vec![None; workers]
    }
}

/// Raises the soft limit of descriptors to the hard one, and says so if that is too few.
pub(super) fn raise_descriptor_limit(connections_max: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let limit = if raised { hard } else { soft };
    // Each connection may hold one to a target.
    let connections = u64::try_from(connections_max).unwrap_or(u64::MAX);
    let wanted = connections
        .saturating_mul(2)
        .saturating_add(DESCRIPTORS_BESIDE);
    if limit < wanted {
        tracing::warn!(
            limit,
            wanted,
            "fewer descriptors than http.connections_max may need; raise the limit of open files"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn all_workers_share_the_port_that_the_system_chose() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sockets = bind(&[any, any], 3).expect("binds");
        let addresses = sockets.addresses.clone();
        assert!(addresses[0].port() != 0 && addresses[0] != addresses[1]);
        assert!(
            TcpStream::connect(addresses[0]).is_err(),
            "bound is not yet listening"
        );
        let listeners = sockets.listen().expect("listens");
        assert_eq!(listeners.len(), 3);
        for worker in &listeners {
            for (listener, address) in worker.iter().zip(&addresses) {
                assert_eq!(listener.local_addr().expect("is bound"), *address);
            }
        }
        TcpStream::connect(addresses[1]).expect("connects");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_name() {
        let address = "192.0.2.1:80".parse().expect("is an address");
        let error = bind(&[address], 1).expect_err("is not ours").to_string();
        assert!(
            error.starts_with("listen: cannot listen on 192.0.2.1:80: "),
            "{error}"
        );
    }

    #[test]
    fn workers_are_pinned_when_each_has_a_core_of_its_own() {
        let cores_here = std::thread::available_parallelism()
            .expect("is known")
            .get();
        let pinned = cores(cores_here);
        assert_eq!(pinned.len(), cores_here);
        assert_eq!(cores(cores_here + 1), vec![None; cores_here + 1]);
    }
}
