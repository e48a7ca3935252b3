//! What a node and control say to each other: one JSON object a line over a Unix stream socket.
//!
//! Control listens, the node connects and speaks first with [`NodeMessage::Hello`]. A line that
//! outgrows [`LINE_BYTES_MAX`] or is no such object ends the connection; the node
//! comes again. Both sides ignore fields and messages they do not know, so that either may be
//! upgraded first, and [`PROTOCOL`] grows when that is not enough.
//!
//! Usage is counted exactly once by `(node, boot, sequence)`: the node sends a segment again, byte
//! for byte, until it is acknowledged; control acknowledges one it has seen and does not add it.

use crate::record::log_search::LogFilter;
use serde::{Deserialize, Serialize};

/// The version both sides must name.
pub const PROTOCOL: u32 = 1;

/// The longest line either side accepts, its newline included.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// From a node to control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NodeMessage {
    /// The first line of every connection.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The node's name.
        node: String,
        /// The program's version.
        version: String,
        /// Random number of this process's start, below 2^53 so that any JSON reader keeps it.
        boot: u64,
        /// How many workers it has.
        workers: u32,
        /// The I/O driver of its workers; empty until they have one.
        driver: String,
        /// The generation that every worker serves; 0 while one of them serves none.
        generation: u64,
    },
    /// The receipt: every worker that lives judges requests by this generation, or by a later
    /// one. Sent when it comes true and once after every `Hello`.
    Serving {
        /// The lowest generation of all living workers.
        generation: u64,
        /// The generation of each living worker, in the order of their indices.
        workers: Vec<u64>,
        /// Milliseconds from learning of the generation to the last worker's adoption.
        elapsed_ms: u64,
    },
    /// A generation could not be taken over; the node serves on with the one before.
    Refused {
        /// The generation refused; 0 if `CURRENT` itself could not be read.
        generation: u64,
        /// Why, for a person.
        reason: String,
    },
    /// What was counted in a while; also of processes that are gone.
    Segment {
        /// Random number of the process that counted it.
        boot: u64,
        /// Its number among those of the boot: grows, and may leave gaps.
        sequence: u64,
        /// A [`Segment`](crate::record::segment::Segment), encoded, as base64.
        data: String,
    },
    /// Lines that a search found.
    LogLines {
        /// The search.
        id: u64,
        /// Lines of the call log, each a JSON object, the oldest first.
        lines: Vec<String>,
        /// Lines that were passed over since the message before, because reading was too slow.
        #[serde(default)]
        missed: u64,
        /// All that was there when the search began has been sent; what follows is new.
        #[serde(default)]
        caught_up: bool,
    },
    /// A search is over.
    LogDone {
        /// The search.
        id: u64,
        /// Why it found nothing, for a person.
        #[serde(default)]
        error: Option<String>,
        /// Bytes that were read for it.
        #[serde(default)]
        scanned_bytes: u64,
        /// All that could be meant was looked at, or as much was found as was asked for.
        #[serde(default)]
        complete: bool,
    },
    /// A message of a later version; ignored.
    #[serde(other)]
    Unknown,
}

/// From control to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlMessage {
    /// A generation was published: look at `CURRENT` now.
    Announce {
        /// The generation it names.
        generation: u64,
    },
    /// The segment is durable; the node may forget it.
    SegmentAck {
        /// The segment's boot.
        boot: u64,
        /// The segment's number.
        sequence: u64,
    },
    /// Look for calls in the log.
    SearchLog {
        /// Names the search on this connection.
        id: u64,
        /// Which lines.
        filter: Box<LogFilter>,
        /// Lines wanted, the newest.
        limit: u32,
        /// Go on with what is written from now on.
        #[serde(default)]
        follow: bool,
    },
    /// Nobody waits for the search any more.
    StopLog {
        /// The search.
        id: u64,
    },
    /// A message of a later version; ignored.
    #[serde(other)]
    Unknown,
}

/// Appends a message as one line, newline included.
pub fn write_line<M: Serialize>(message: &M, line: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *line, message)?;
    line.push(b'\n');
    Ok(())
}

/// Reads one line; a trailing newline is allowed.
pub fn read_line<'l, M: Deserialize<'l>>(line: &'l [u8]) -> serde_json::Result<M> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::segment::SEGMENT_BYTES_MAX;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn line_of<M: Serialize>(message: &M) -> String {
        let mut line = Vec::new();
        write_line(message, &mut line).expect("writes to memory");
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn each_message_is_one_line_with_its_type() {
        let serving = NodeMessage::Serving {
            generation: 3,
            workers: vec![3, 4],
            elapsed_ms: 2,
        };
        let line = line_of(&serving);
        assert_eq!(
            line,
            "{\"type\":\"serving\",\"generation\":3,\"workers\":[3,4],\"elapsed_ms\":2}\n"
        );
        assert_eq!(
            read_line::<NodeMessage>(line.as_bytes()).expect("reads"),
            serving
        );
        assert_eq!(
            line_of(&ControlMessage::SegmentAck {
                boot: 9,
                sequence: 1
            }),
            "{\"type\":\"segment_ack\",\"boot\":9,\"sequence\":1}\n"
        );
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let line = br#"{"type":"announce","generation":5,"urgent":true}"#;
        assert_eq!(
            read_line::<ControlMessage>(line).expect("reads"),
            ControlMessage::Announce { generation: 5 }
        );
    }

    #[test]
    fn messages_of_a_later_version_are_known_as_unknown() {
        let line = br#"{"type":"upgrade","binary":"b"}"#;
        assert_eq!(
            read_line::<ControlMessage>(line).expect("reads"),
            ControlMessage::Unknown
        );
        assert_eq!(
            read_line::<NodeMessage>(line).expect("reads"),
            NodeMessage::Unknown
        );
        assert!(read_line::<ControlMessage>(b"{\"generation\":1}").is_err());
        assert!(read_line::<ControlMessage>(b"hello").is_err());
    }

    #[test]
    fn the_longest_segment_fits_a_line() {
        let data = STANDARD.encode(vec![0; SEGMENT_BYTES_MAX]);
        let line = line_of(&NodeMessage::Segment {
            boot: u64::MAX,
            sequence: u64::MAX,
            data,
        });
        assert!(line.len() <= LINE_BYTES_MAX, "{} bytes", line.len());
    }
}
