//! What the node needs of the system before workers run: their listening sockets, their cores,
//! and enough descriptors.
//!
//! Every worker gets sockets of its own for every address (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no accept is shared. They are bound early, for an address in use
//! must fail before minutes of loading, and listen late, so that nobody connects to a node that
//! does not serve yet.
//!
//! Sockets that were given to the process are never closed while they are wanted: the kernel would
//! reset what waits in their queues. With fewer workers than before each has several of them; with
//! more, or where they do not divide evenly, the process binds as many as are missing beside them.
use super::NodeError;
use super::sockets::{Group, Inherited};
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

/// Sockets that are bound; those of this process's own do not listen yet.
#[derive(Debug)]
pub(super) struct Sockets {
    /// In the order of the settings.
    groups: Vec<Group>,
    workers: usize,
}

/// Binds every address for every worker, beside what was given for it.
pub(super) fn bind(
    addresses: &[SocketAddr],
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, NodeError> {
    let groups = addresses
        .iter()
        .map(|&address| {
            let given = inherited.take_traffic(address);
            bind_group(address, workers, given)
                .map_err(|cause| NodeError::Listen { address, cause })
        })
        .collect::<Result<_, _>>()?;
    Ok(Sockets { groups, workers })
}

/// Binds the admin listener's address, or takes what was given for it.
pub(super) fn bind_admin(
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<TcpListener, NodeError> {
    let given = inherited.take_admin(address);
    match given.and_then(|mut group| group.sockets.pop()) {
        Some(socket) => Ok(socket.into()),
        None => TcpListener::bind(address).map_err(|cause| NodeError::Admin { address, cause }),
    }
}

fn bind_group(address: SocketAddr, workers: usize, given: Option<Group>) -> io::Result<Group> {
    let mut group = Group {
        written: address,
        ..given.unwrap_or(Group::empty(address))
    };
    for socket in &group.sockets {
        prepare(socket)?;
    }
    let wanted = group.sockets.len().max(1).next_multiple_of(workers);
    while group.sockets.len() < wanted {
        let socket = match bind_one(group.bound) {
            // Whoever gave it did not let it be shared, so workers accept from one queue.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let shared = group.sockets.len().checked_sub(1).ok_or(error)?;
                group.sockets[shared].try_clone()?
            }
            bound => bound?,
        };
        // Port 0 becomes the one that the system chose, and all workers share it.
        group.bound = socket.local_addr()?.as_socket().unwrap_or(address);
        group.sockets.push(socket);
    }
    Ok(group)
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
    prepare(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

impl Sockets {
    /// What they are bound to, in the order of the settings.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.groups.iter().map(|group| group.bound).collect()
    }

    /// Lets them listen. For each worker its sockets, each with the place of its address in the
    /// settings; and all of them once more, for a process that takes over.
    pub(super) fn listen(self) -> Result<(Vec<PerWorker>, Vec<Group>), NodeError> {
        let mut workers: Vec<PerWorker> = (0..self.workers).map(|_| Vec::new()).collect();
        for (place, group) in self.groups.iter().enumerate() {
            let address = group.bound;
            for (index, socket) in group.sockets.iter().enumerate() {
                let listening = socket.listen(BACKLOG).and_then(|()| socket.try_clone());
                let listening = listening.map_err(|cause| NodeError::Listen { address, cause })?;
                workers[index % self.workers].push((place, listening.into()));
            }
        }
        Ok((workers, self.groups))
    }
}

/// The listening sockets of one worker, each with the place of its address in the settings.
pub(super) type PerWorker = Vec<(usize, TcpListener)>;

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
    use std::net::{IpAddr, Ipv4Addr, TcpStream};

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn bind_new(addresses: &[SocketAddr], workers: usize) -> Result<Sockets, NodeError> {
        bind(addresses, workers, &mut Inherited::default())
    }

    #[test]
    fn all_workers_share_the_port_that_the_system_chose() {
        let sockets = bind_new(&[ANY, ANY], 3).expect("binds");
        let addresses = sockets.addresses();
        assert!(addresses[0].port() != 0 && addresses[0] != addresses[1]);
        assert!(
            TcpStream::connect(addresses[0]).is_err(),
            "bound is not yet listening"
        );
        let (listeners, _) = sockets.listen().expect("listens");
        assert_eq!(listeners.len(), 3);
        for worker in &listeners {
            assert_eq!(worker.len(), 2);
            for (place, listener) in worker {
                let bound = listener.local_addr().expect("is bound");
                assert_eq!(bound, addresses[*place]);
            }
        }
        TcpStream::connect(addresses[1]).expect("connects");
    }

    /// How many sockets each worker has when `after` of them take over from `before`.
    fn taken_over(before: usize, after: usize) -> Vec<usize> {
        let (_old, traffic) = bind_new(&[ANY], before)
            .expect("binds")
            .listen()
            .expect("listens");
        let bound = traffic[0].bound;
        let mut inherited = Inherited {
            traffic,
            admin: Vec::new(),
        };
        let sockets = bind(&[ANY], after, &mut inherited).expect("binds");
        assert_eq!(sockets.addresses(), [bound]);
        let (workers, _) = sockets.listen().expect("listens");
        workers.iter().map(Vec::len).collect()
    }

    #[test]
    fn no_given_socket_is_closed_and_every_worker_has_as_many_as_any() {
        assert_eq!(taken_over(2, 2), [1, 1]);
        assert_eq!(taken_over(2, 1), [2]);
        assert_eq!(taken_over(1, 2), [1, 1]);
        assert_eq!(taken_over(3, 2), [2, 2]);
    }

    #[test]
    fn workers_share_a_queue_that_was_given_for_one_process_alone() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("makes a socket");
        socket.bind(&ANY.into()).expect("binds");
        socket.listen(1).expect("listens");
        let bound = socket.local_addr().expect("is bound");
        let bound = bound.as_socket().expect("is an address");
        let mut inherited = Inherited {
            traffic: vec![Group {
                written: bound,
                bound,
                sockets: vec![socket],
            }],
            admin: Vec::new(),
        };
        let sockets = bind(&[bound], 2, &mut inherited).expect("shares");
        let (workers, _) = sockets.listen().expect("listens");
        assert_eq!(workers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        TcpStream::connect(bound).expect("connects");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_name() {
        let address = "192.0.2.1:80".parse().expect("is an address");
        let error = bind_new(&[address], 1)
            .expect_err("is not ours")
            .to_string();
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
