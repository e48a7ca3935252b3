//! What a node and control say to each other: one JSON object a line over a Unix stream socket.
//!
//! Control listens, the node connects and speaks first with [`NodeMessage::Hello`]. A line that
//! outgrows [`LINE_BYTES_MAX`] or is no such object ends the connection; the node
//! comes again. Both sides ignore fields and messages they do not know, so that either may be
//! upgraded first, and [`PROTOCOL`] grows when that is not enough.
//!
//! Usage is counted exactly once by `(node, boot, sequence)`: the node sends a batch again, row
//! for row, until it is acknowledged; control acknowledges one it has seen and does not add it.

use crate::record::UsageRow;
use serde::{Deserialize, Serialize};

/// The version both sides must name.
pub const PROTOCOL: u32 = 1;

/// The longest line either side accepts, its newline included.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Most rows in one [`NodeMessage::Usage`]: at their longest they still fit a line.
pub const USAGE_ROWS_MAX: usize = 4_096;

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
    /// Counts since the batch before.
    Usage {
        /// The boot of the `Hello`.
        boot: u64,
        /// Counts batches of one boot, from 1, without gaps.
        sequence: u64,
        /// At most [`USAGE_ROWS_MAX`] rows.
        rows: Vec<UsageRow>,
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
    /// The batch is durable; the node may forget it.
    UsageAck {
        /// The batch's boot.
        boot: u64,
        /// The batch's sequence.
        sequence: u64,
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
    use crate::snapshot::ids::KeyId;

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
            line_of(&ControlMessage::UsageAck {
                boot: 9,
                sequence: 1
            }),
            "{\"type\":\"usage_ack\",\"boot\":9,\"sequence\":1}\n"
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
    fn a_row_names_its_key_as_people_see_it() {
        let row = UsageRow {
            key: KeyId::new(7),
            api: 1,
            class: 2,
            requests: 3,
            bytes_in: 4,
            bytes_out: 5,
        };
        assert_eq!(
            line_of(&row),
            "{\"key\":\"key_0000000000007\",\"api\":1,\"class\":2,\"requests\":3,\
             \"bytes_in\":4,\"bytes_out\":5}\n"
        );
        let open = UsageRow { key: None, ..row };
        assert!(line_of(&open).starts_with("{\"key\":null,"));
    }

    #[test]
    fn the_largest_batch_fits_a_line() {
        let row = UsageRow {
            key: KeyId::new(u64::MAX),
            api: u32::MAX,
            class: 5,
            requests: u64::MAX,
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
        };
        let rows = vec![row; USAGE_ROWS_MAX];
        let line = line_of(&NodeMessage::Usage {
            boot: u64::MAX,
            sequence: u64::MAX,
            rows,
        });
        assert!(line.len() <= LINE_BYTES_MAX, "{} bytes", line.len());
    }
}
