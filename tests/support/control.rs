//! A stand-in for control at its end of the link's socket: hears what a node says, word by word.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway::link::protocol::{self, ControlMessage, NodeMessage};
use keyway::record::segment::Segment;

use super::wait::{self, PATIENCE};

/// Control's end, waiting for the node.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
}

/// One connection of the node.
#[derive(Debug)]
pub struct NodeLine {
    reader: BufReader<UnixStream>,
}

impl Control {
    /// Listens at `path`, which an earlier control may have left behind.
    pub fn at(path: &Path) -> Self {
        // An error means that there was none.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("the path is free");
        listener
            .set_nonblocking(true)
            .expect("a socket takes the option");
        Self { listener }
    }

    /// Waits for the node to connect.
    pub fn accept(&self) -> NodeLine {
        let stream = wait::value("the node to connect", || self.listener.accept().ok()).0;
        stream
            .set_nonblocking(false)
            .expect("a socket takes the option");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        NodeLine {
            reader: BufReader::new(stream),
        }
    }
}

impl NodeLine {
    /// The node's next message.
    #[track_caller]
    pub fn hear(&mut self) -> NodeMessage {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .expect("the node speaks in time");
        protocol::read_line(line.as_bytes()).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// The next message that `wanted` makes something of.
    #[track_caller]
    pub fn hear_until<T>(&mut self, wanted: impl Fn(NodeMessage) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.hear()) {
                return found;
            }
        }
    }

    /// The next segment of usage: boot, sequence, and what it holds.
    #[track_caller]
    pub fn hear_segment(&mut self) -> (u64, u64, Segment) {
        let (boot, sequence, data) = self.hear_until(|message| match message {
            NodeMessage::Segment {
                boot,
                sequence,
                data,
            } => Some((boot, sequence, data)),
            _ => None,
        });
        let bytes = STANDARD.decode(data).expect("is base64");
        let segment = Segment::decode(&bytes).expect("is a segment");
        (boot, sequence, segment)
    }

    /// Says something to the node.
    pub fn say(&mut self, message: &ControlMessage) {
        let mut line = Vec::new();
        protocol::write_line(message, &mut line).expect("a vector takes all");
        self.reader
            .get_mut()
            .write_all(&line)
            .expect("the node listens");
    }
}
