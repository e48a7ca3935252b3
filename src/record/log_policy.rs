//! Whether a call is logged, and which of its words: an API's `log`, in the form that workers obey.

use super::mask::{MASKED, Mask, is_secret};
use crate::snapshot::catalog::{CallLog, CredentialEntry, SampleShare};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// So that the draw is not the one that splits requests between upstreams: a sample would else be
/// one upstream's.
const DRAW_SEED: u64 = 0x6361_6c6c_206c_6f67;

/// A share of calls that is logged, less than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    millionths: u32,
}

impl Sample {
    /// A share; `None` for all calls, of which no line needs to tell.
    pub fn new(share: SampleShare) -> Option<Self> {
        (share != SampleShare::ALL).then(|| Self {
            millionths: share.millionths(),
        })
    }

    /// Appends it as a number.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        // A leading one keeps the zeros behind the point.
        let digits = digits.format(self.millionths + 1_000_000).as_bytes();
        let end = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
        out.extend_from_slice(if end == 0 { b"0" } else { b"0." });
        out.extend_from_slice(&digits[1..=end]);
    }

    /// Whether this request is drawn: the same answer wherever and whenever it is asked.
    fn draws(self, request_id: &[u8]) -> bool {
        let chance = xxh3_64_with_seed(request_id, DRAW_SEED);
        u128::from(chance) * 1_000_000 < u128::from(self.millionths) << 64
    }
}

/// What the call log says of the calls of one API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    off: bool,
    /// Absent: the node's share. A share of one: all, whatever the node's is.
    sample: Option<Option<Sample>>,
    errors_always: bool,
    query: Option<Mask>,
    headers: Vec<LoggedHeader>,
}

/// One header that is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedHeader {
    /// Its name in lower case.
    pub name: Box<str>,
    masked: bool,
}

impl LoggedHeader {
    /// One of its values as it may be logged.
    pub fn shown<'v>(&self, value: &'v [u8]) -> &'v [u8] {
        if self.masked || is_secret(value) {
            MASKED
        } else {
            value
        }
    }
}

/// A call that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The share that it was drawn for; absent where nothing was drawn.
    pub sample: Option<Sample>,
}

/// For an API that says nothing, and for calls of no API.
pub static USUAL: LogPolicy = LogPolicy {
    off: false,
    sample: None,
    errors_always: true,
    query: None,
    headers: Vec::new(),
};

impl LogPolicy {
    /// As an API writes it; where its own key travels is a secret.
    pub fn new(entry: &CallLog, credential: &CredentialEntry) -> Self {
        let own_query = entry.mask_query.iter().chain(&credential.query);
        let own_headers = entry.mask_headers.iter().chain(&credential.header);
        let mask = Mask::of_headers(own_headers.map(String::as_str));
        let header = |name: &String| LoggedHeader {
            name: name.to_ascii_lowercase().into(),
            masked: mask.covers(name.as_bytes()),
        };
        Self {
            off: entry.off,
            sample: entry.sample.map(Sample::new),
            errors_always: entry.errors_always,
            query: entry
                .query
                .then(|| Mask::new(own_query.map(String::as_str))),
            headers: entry.headers.iter().map(header).collect(),
        }
    }

    /// Whether a call is logged; `node` is the node's share.
    pub fn keeps(&self, node: Option<Sample>, request_id: &[u8], is_error: bool) -> Option<Kept> {
        if self.off {
            return None;
        }
        let sample = self.sample.unwrap_or(node);
        match sample {
            None => Some(Kept { sample: None }),
            Some(_) if is_error && self.errors_always => Some(Kept { sample: None }),
            Some(sample) => sample.draws(request_id).then_some(Kept {
                sample: Some(sample),
            }),
        }
    }

    /// How the query is masked; `None` if it is not logged.
    pub fn query(&self) -> Option<&Mask> {
        self.query.as_ref()
    }

    /// The headers that are logged.
    pub fn headers(&self) -> &[LoggedHeader] {
        &self.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::request_id::RequestIds;

    fn policy(sample: Option<f64>) -> LogPolicy {
        let entry = CallLog {
            sample: sample.map(SampleShare::from),
            headers: vec![
                "X-Tenant".into(),
                "Authorization".into(),
                "X-Partner".into(),
            ],
            ..CallLog::default()
        };
        let credential = CredentialEntry {
            header: Some("X-Partner".into()),
            query: None,
        };
        LogPolicy::new(&entry, &credential)
    }

    #[test]
    fn a_share_of_calls_is_drawn_the_same_way_each_time() {
        let (policy, mut ids) = (policy(Some(0.1)), RequestIds::new(7));
        let ids: Vec<_> = (0..20_000).map(|_| ids.mint()).collect();
        let kept = |id: &&crate::record::request_id::RequestId| {
            policy.keeps(None, id.as_bytes(), false).is_some()
        };
        let count = ids.iter().filter(kept).count();
        assert!((1_700..2_300).contains(&count), "{count}");
        assert_eq!(ids.iter().filter(kept).count(), count);
        let kept = policy.keeps(None, ids[0].as_bytes(), true);
        assert_eq!(kept, Some(Kept { sample: None }), "errors are always kept");
    }

    #[test]
    fn a_share_is_told_as_a_number() {
        for share in [0.0, 0.1, 0.25, 0.000_001, 0.999_999, 0.5] {
            let mut text = Vec::new();
            Sample::new(SampleShare::from(share))
                .expect("less than all")
                .write(&mut text);
            assert_eq!(String::from_utf8(text).expect("digits"), share.to_string());
        }
        assert_eq!(Sample::new(SampleShare::ALL), None);
    }

    #[test]
    fn an_api_may_say_what_the_node_does_not() {
        let none = Sample::new(SampleShare::from(0.0));
        assert!(policy(None).keeps(none, b"r", false).is_none());
        assert!(policy(Some(1.0)).keeps(none, b"r", false).is_some());
        assert!(USUAL.keeps(None, b"r", false).is_some());
        assert!(USUAL.keeps(none, b"r", false).is_none());
        assert!(USUAL.keeps(none, b"r", true).is_some());
        let off = LogPolicy {
            off: true,
            ..USUAL.clone()
        };
        assert!(off.keeps(None, b"r", true).is_none());
    }

    #[test]
    fn headers_that_carry_credentials_are_shown_masked() {
        let shown: Vec<_> = policy(None)
            .headers()
            .iter()
            .map(|header| (header.name.to_string(), header.shown(b"v") == MASKED))
            .collect();
        let expected = [
            ("x-tenant", false),
            ("authorization", true),
            ("x-partner", true),
        ];
        assert_eq!(
            shown,
            expected.map(|(name, masked)| (name.to_owned(), masked))
        );
    }
}
