//! A segment of usage: what a node counted in a while, as it lies in the spool, travels over the
//! link and is kept by control. With the snapshot the only contract between the two programs.
//!
//! ```text
//! "KWUS" | version: u16 | crc32 of the rest: u32 | a Segment, by postcard
//! ```
//!
//! Little-endian. Control counts a segment exactly once by `(node, boot, sequence)`. Rows of
//! several segments that agree in what they count add up; nothing in a row is an average. Whoever
//! changes what a [`Segment`] holds raises [`VERSION`]; a reader refuses versions that it does not know,
//! and the segment stays where it is.

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use crate::snapshot::ids::KeyId;

/// The version of the format.
pub const VERSION: u16 = 1;

/// The longest segment, encoded: as base64 it fits a line of the link.
pub const SEGMENT_BYTES_MAX: usize = 512 * 1_024;

const MAGIC: [u8; 4] = *b"KWUS";
const HEAD_BYTES: usize = 10;

/// What a row counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Counted {
    /// Minutes since 1970, by the node's clock, in which the requests ended.
    pub minute: u32,
    /// The key; `None` where none was asked, or none was good.
    #[serde(with = "key_number")]
    pub key: Option<KeyId>,
    /// Number of the API; 0 where none matched.
    pub api: u32,
    /// The route, by [`RouteName::route`]; 0 where none matched.
    pub route: u32,
    /// Status class 1 to 5; 0 when no answer was sent.
    pub class: u8,
    /// Why the gateway said no: one more than the place in [`Segment::refusals`]; 0 if it did not.
    pub refusal: u8,
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// What it counts.
    pub counted: Counted,
    /// Requests.
    pub requests: u64,
    /// Bytes received from clients, heads included.
    pub bytes_in: u64,
    /// Bytes sent to clients, heads included.
    pub bytes_out: u64,
    /// From each request's first byte to its answer's last; tunnels are not in it.
    pub latency: Latency,
}

/// What a route is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteName {
    /// Number of its API.
    pub api: u32,
    /// Its number within the API: a checksum of its path pattern and methods, so that it stays the
    /// same when routes around it change.
    pub route: u32,
    /// Methods and path pattern as the catalog writes them: `GET, POST /orders/*`.
    pub name: String,
}

/// Refusals of credentials by client address, for those addresses that had most of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedClient {
    /// Minutes since 1970.
    pub minute: u32,
    /// The address; of IPv6 its /64 network.
    pub client: std::net::IpAddr,
    /// Requests answered 401.
    pub unauthorized: u64,
}

/// What a node counted in a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The node's name.
    pub node: String,
    /// Random number of the process that counted.
    pub boot: u64,
    /// Counts the segments of one boot from 1; grows, and may leave gaps where segments were
    /// dropped.
    pub sequence: u64,
    /// When it was sealed, milliseconds since the epoch by the node's clock.
    pub sealed_ms: u64,
    /// Requests that this boot counted and had to drop since the segment before, because there
    /// was no room to keep them.
    pub dropped_requests: u64,
    /// Names of the routes in the rows.
    pub routes: Vec<RouteName>,
    /// Labels of the refusals in the rows.
    pub refusals: Vec<String>,
    /// The counts; none stands twice.
    pub rows: Vec<SegmentRow>,
    /// Where refused credentials came from.
    pub refused_clients: Vec<RefusedClient>,
}

/// Why bytes are not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Too short, or another kind of file.
    #[error("is no usage segment")]
    Magic,
    /// A later (or older) format.
    #[error("has format {0}; this program reads {VERSION}")]
    Version(u16),
    /// The checksum is wrong: torn or damaged.
    #[error("is damaged: its checksum is wrong")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("is malformed")]
    Malformed,
}

impl Segment {
    /// The segment as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 64 * self.rows.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let mut bytes = postcard::to_extend(self, bytes).expect("memory takes every plain value");
        let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]);
        bytes[6..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a segment and checks it.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let (head, body) = bytes
            .split_at_checked(HEAD_BYTES)
            .ok_or(SegmentError::Magic)?;
        if head[..4] != MAGIC {
            return Err(SegmentError::Magic);
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return Err(SegmentError::Version(version));
        }
        if head[6..] != crc32fast::hash(body).to_le_bytes() {
            return Err(SegmentError::Checksum);
        }
        let (segment, rest) =
            postcard::take_from_bytes(body).map_err(|_| SegmentError::Malformed)?;
        match rest {
            [] => Ok(segment),
            _ => Err(SegmentError::Malformed),
        }
    }

    /// What it says of itself, and none of its rows.
    pub fn clone_without_rows(&self) -> Self {
        Self {
            node: self.node.clone(),
            routes: self.routes.clone(),
            refusals: self.refusals.clone(),
            rows: Vec::new(),
            refused_clients: Vec::new(),
            ..*self
        }
    }

    /// Requests in its rows.
    pub fn requests(&self) -> u64 {
        let sum = |sum: u64, row: &SegmentRow| sum.saturating_add(row.requests);
        self.rows.iter().fold(0, sum)
    }
}

/// A key's id as its number, 0 for none: its text is three times as long.
mod key_number {
    use super::KeyId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(key: &Option<KeyId>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(key.map_or(0, KeyId::get))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<KeyId>, D::Error> {
        u64::deserialize(from).map(KeyId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment() -> Segment {
        let mut latency = Latency::default();
        latency.add(350_000);
        latency.add(2_000_000);
        Segment {
            node: "edge-1".into(),
            boot: 7,
            sequence: 3,
            sealed_ms: 1_764_000_000_000,
            dropped_requests: 2,
            routes: vec![RouteName {
                api: 1,
                route: 0xdead_beef,
                name: "GET /orders/*".into(),
            }],
            refusals: vec!["key_revoked".into()],
            rows: vec![SegmentRow {
                counted: Counted {
                    minute: 29_400_000,
                    key: KeyId::new(u64::MAX),
                    api: 1,
                    route: 0xdead_beef,
                    class: 4,
                    refusal: 1,
                },
                requests: 2,
                bytes_in: 300,
                bytes_out: 500,
                latency,
            }],
            refused_clients: vec![RefusedClient {
                minute: 29_400_000,
                client: [127, 0, 0, 1].into(),
                unauthorized: 5,
            }],
        }
    }

    #[test]
    fn a_segment_reads_back_as_it_was_written() {
        assert_eq!(Segment::decode(&segment().encode()), Ok(segment()));
        assert_eq!(
            Segment::decode(&Segment::default().encode()),
            Ok(Segment::default())
        );
    }

    #[test]
    fn each_cut_and_each_flipped_byte_is_refused() {
        let bytes = segment().encode();
        for length in 0..bytes.len() {
            assert!(
                Segment::decode(&bytes[..length]).is_err(),
                "cut at {length}"
            );
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0x40;
            assert!(Segment::decode(&bent).is_err(), "byte {at}");
        }
        assert!(Segment::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn another_format_says_which() {
        let mut bytes = segment().encode();
        bytes[4] = 9;
        assert_eq!(Segment::decode(&bytes), Err(SegmentError::Version(9)));
    }

    proptest! {
        #[test]
        fn bytes_of_anyone_are_a_segment_or_an_error(body: Vec<u8>) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&VERSION.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            if let Ok(segment) = Segment::decode(&bytes) {
                prop_assert_eq!(Segment::decode(&segment.encode()), Ok(segment));
            }
        }
    }
}
