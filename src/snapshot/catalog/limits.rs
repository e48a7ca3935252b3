//! Limits as the catalog writes them: whose requests are counted together, in which unit, and in
//! which shape.

use serde::{Deserialize, Serialize};

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitSubject {
    /// Each key has its own.
    #[default]
    Key,
    /// All keys of an app.
    App,
    /// All keys of a tenant's apps.
    Tenant,
    /// All callers of an API that the limit applies to.
    Api,
    /// Each client address, as trusted hops tell it; of IPv6 each /64.
    Address,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LimitUnit {
    /// Requests.
    #[default]
    Requests,
    /// Bytes received from the client, heads included.
    BytesIn,
    /// Bytes sent to the client, heads included.
    BytesOut,
}

/// A window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CalendarUnit {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight: 23 or 25 hours where clocks change.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

/// How a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitShape {
    /// A rate: so many units a period, and a burst that may come at once.
    Rate {
        /// Units per period, at least 1.
        units: u64,
        /// The period in milliseconds, at least 1.
        period_ms: u64,
        /// Units that may come at once, at least 1.
        burst: u64,
    },
    /// A quota: so many units a window of the calendar.
    Quota {
        /// Units per window, at least 1.
        units: u64,
        /// The window.
        window: CalendarUnit,
        /// Name of the time zone that its windows follow, as in the IANA database.
        zone: String,
    },
    /// So many requests at the same time.
    Concurrent {
        /// Requests in flight, at least 1.
        requests: u32,
    },
}

/// One limit of a plan or of an API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenLimit", into = "WrittenLimit")]
pub struct LimitEntry {
    /// Stable number over all plans and APIs, 1 to 2^29 - 1: names the limit's words in the bank.
    pub number: u32,
    /// Name in `RateLimit` and `RateLimit-Policy`, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Whose requests are counted together.
    pub subject: LimitSubject,
    /// What is counted; requests, where the shape is [`LimitShape::Concurrent`].
    pub unit: LimitUnit,
    /// How.
    pub shape: LimitShape,
    /// It refuses nobody: what it would have refused is counted.
    pub shadow: bool,
}

/// A limit as it stands in the file: the fields of exactly one shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    number: u32,
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    subject: LimitSubject,
    #[serde(default, skip_serializing_if = "is_default")]
    unit: LimitUnit,
    /// Units of a rate or a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<CalendarUnit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrent: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    shadow: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The fields of a limit belong to no shape, or to more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a limit has `requests`, `period_ms` and `burst`, or `requests`, `calendar` and `zone`, \
     or `concurrent`"
)]
pub struct NoShape;

impl TryFrom<WrittenLimit> for LimitEntry {
    type Error = NoShape;

    fn try_from(written: WrittenLimit) -> Result<Self, NoShape> {
        let WrittenLimit {
            requests,
            period_ms,
            burst,
            calendar,
            zone,
            concurrent,
            ..
        } = written;
        let shape = match (requests, period_ms, burst, calendar, zone, concurrent) {
            (Some(units), Some(period_ms), Some(burst), None, None, None) => LimitShape::Rate {
                units,
                period_ms,
                burst,
            },
            (Some(units), None, None, Some(window), Some(zone), None) => LimitShape::Quota {
                units,
                window,
                zone,
            },
            (None, None, None, None, None, Some(requests)) => LimitShape::Concurrent { requests },
            _ => return Err(NoShape),
        };
        Ok(Self {
            number: written.number,
            name: written.name,
            subject: written.subject,
            unit: written.unit,
            shape,
            shadow: written.shadow,
        })
    }
}

impl From<LimitEntry> for WrittenLimit {
    fn from(entry: LimitEntry) -> Self {
        let mut written = Self {
            number: entry.number,
            name: entry.name,
            subject: entry.subject,
            unit: entry.unit,
            requests: None,
            period_ms: None,
            burst: None,
            calendar: None,
            zone: None,
            concurrent: None,
            shadow: entry.shadow,
        };
        match entry.shape {
            LimitShape::Rate {
                units,
                period_ms,
                burst,
            } => {
                written.requests = Some(units);
                written.period_ms = Some(period_ms);
                written.burst = Some(burst);
            }
            LimitShape::Quota {
                units,
                window,
                zone,
            } => {
                written.requests = Some(units);
                written.calendar = Some(window);
                written.zone = Some(zone);
            }
            LimitShape::Concurrent { requests } => written.concurrent = Some(requests),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LimitEntry, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn each_shape_reads_back_as_it_was_written() {
        let shapes = [
            LimitShape::Rate {
                units: 10,
                period_ms: 1_000,
                burst: 20,
            },
            LimitShape::Quota {
                units: 1_000,
                window: CalendarUnit::Month,
                zone: "Europe/Berlin".into(),
            },
            LimitShape::Concurrent { requests: 3 },
        ];
        for shape in shapes {
            let entry = LimitEntry {
                number: 7,
                name: "n".into(),
                subject: LimitSubject::App,
                unit: LimitUnit::Requests,
                shape,
                shadow: true,
            };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(read(&text), Ok(entry), "{text}");
        }
    }

    #[test]
    fn a_rate_of_a_key_is_written_as_it_always_was() {
        let text = r#"{"number":7,"name":"n","requests":10,"period_ms":1000,"burst":20}"#;
        let entry = read(text).unwrap();
        assert_eq!(entry.subject, LimitSubject::Key);
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
    }

    #[test]
    fn fields_of_two_shapes_are_refused() {
        for fields in [
            r#""requests":1"#,
            r#""requests":1,"period_ms":1"#,
            r#""requests":1,"period_ms":1,"burst":1,"concurrent":1"#,
            r#""requests":1,"calendar":"day""#,
            r#""requests":1,"calendar":"day","zone":"UTC","burst":1"#,
            r#""concurrent":1,"zone":"UTC""#,
        ] {
            let told = read(&format!(r#"{{"number":7,"name":"n",{fields}}}"#)).unwrap_err();
            assert!(told.contains("a limit has"), "{fields}: {told}");
        }
    }
}
