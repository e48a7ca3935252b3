//! Socket activation: listening sockets that the service manager opened and passes at start, see
//! `sd_listen_fds(3)`.
//!
//! It keeps them open, so connections that come while the node is restarted wait instead of being
//! refused.

use std::io;
use std::net::TcpListener;

use nix::unistd::close;
use socket2::{Socket, Type};

use super::NodeError;
use super::sockets::{Group, Inherited};
use crate::io::duplicate;

/// The sockets that were passed to this process, if any were. Before anything else opens a
/// descriptor: theirs are known by their numbers alone.
pub(super) fn sockets() -> Result<Inherited, NodeError> {
    let mut inherited = Inherited::default();
    for number in sd_notify::listen_fds().map_err(NodeError::System)? {
        let socket = duplicate(number).map_err(NodeError::System)?;
        let _ = close(number);
        let socket = Socket::from(socket);
        let bound = listening(&socket).map_err(|_| NodeError::Activation {
            what: format!("descriptor {number}, which is no listening TCP socket"),
        })?;
        match inherited
            .traffic
            .iter_mut()
            .find(|group| group.bound == bound)
        {
            Some(group) => group.sockets.push(socket),
            None => inherited.traffic.push(Group {
                written: bound,
                bound,
                sockets: vec![socket],
            }),
        }
    }
    Ok(inherited)
}

fn listening(socket: &Socket) -> io::Result<std::net::SocketAddr> {
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    TcpListener::from(socket.try_clone()?).local_addr()
}
