//! Every way the gateway itself says no: decided once by a stage, turned into HTTP once by
//! [`respond`](crate::respond).
//!
//! Status, public code, title and metric label follow from the variant alone, so that no stage
//! writes a response of its own. Unknown, revoked, disabled and expired keys share one answer:
//! probing learns nothing. The cause proper goes to the access log and the metrics.

/// One variant per cause, in pipeline order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The head is not one well-formed HTTP/1.1 request; framing is lost.
    HeadMalformed,
    /// The head outgrew `http.head_bytes_max`.
    HeadTooLarge,
    /// The request target outgrew `http.target_bytes_max`.
    TargetTooLong,
    /// More headers than `http.headers_max`.
    TooManyHeaders,
    /// The head did not arrive within `http.head_timeout_ms`.
    HeadTimeout,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionUnsupported,
    /// A `Transfer-Encoding` other than `chunked`.
    CodingUnsupported,
    /// The message's length is ambiguous or malformed (RFC 9112, section 6.3).
    FramingInvalid,
    /// An expectation other than `100-continue`.
    ExpectationUnknown,
    /// The path holds dot segments, encoded separators or bad escapes.
    PathUnsafe,
    /// A method that a gateway does not forward (`CONNECT`, `TRACE`).
    MethodUnsupported,
    /// The node has too much to do, by `[overload]`: refused before it costs more.
    Overloaded,
    /// No snapshot was loaded yet: fail closed.
    NotReady,
    /// No API matches the host and path.
    RouteUnknown,
    /// The path matches an API that does not list the method.
    MethodNotAllowed,
    /// The API tells its versions apart by a header, which names none of them or is absent.
    ApiVersionUnknown,
    /// The API wants a key and none came.
    KeyMissing,
    /// More than one place of the request carries a key.
    KeyAmbiguous,
    /// The key's form, prefix or checksum is wrong.
    KeyMalformed,
    /// No such key.
    KeyUnknown,
    /// The key was revoked.
    KeyRevoked,
    /// The key, its app or its tenant is disabled.
    KeyDisabled,
    /// The key is not valid yet.
    KeyNotYetValid,
    /// The key's validity is over.
    KeyExpired,
    /// The key's app has no grant for this API.
    NotEntitled,
    /// The announced body outgrows `http.body_bytes_max`.
    BodyTooLarge,
    /// The upstream has no target to send to.
    NoTarget,
    /// The plan's limit is spent; more in this many seconds.
    LimitReached {
        /// Whole seconds until one more request is admitted, rounded up.
        retry_after_s: u32,
    },
    /// The node cannot count another caller against its limits: fail closed.
    LimitUnavailable,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The request body broke its own framing on the way through.
    BodyMalformed,
    /// The node has no descriptor, port or memory for a connection to a target; no fault of the
    /// target's.
    NoSocket,
    /// The target has as many connections as it may.
    UpstreamBusy,
    /// No connection to a target could be made.
    ConnectFailed,
    /// No connection to a target within its deadline.
    ConnectTimeout,
    /// The target closed or reset before it answered.
    UpstreamClosed,
    /// The target's answer is not well-formed HTTP.
    UpstreamMalformed,
    /// The target did not answer within its deadline.
    UpstreamTimeout,
    /// A bug of ours: one request lost, the worker goes on.
    Internal,
}

// Refusals travel by value through every stage; keep them in one register.
const _: () = assert!(size_of::<Refusal>() <= 8);

/// What a refusal is to the outside and to the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    /// HTTP status code.
    pub status: u16,
    /// Public, stable code; also the last part of the problem's `type`.
    pub code: &'static str,
    /// Short human text.
    pub title: &'static str,
    /// Metric and log label: the cause proper, never shown to the caller.
    pub label: &'static str,
}

const fn face(status: u16, code: &'static str, title: &'static str, label: &'static str) -> Face {
    Face {
        status,
        code,
        title,
        label,
    }
}

const OVERLOADED: &str = "The gateway is overloaded";

const KEY_REFUSED: &str = "The key is not valid for this gateway";

impl Refusal {
    /// The refusal's outward face.
    pub const fn face(self) -> Face {
        match self {
            Self::HeadMalformed
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::TooManyHeaders
            | Self::HeadTimeout
            | Self::VersionUnsupported
            | Self::CodingUnsupported
            | Self::FramingInvalid
            | Self::ExpectationUnknown
            | Self::PathUnsafe
            | Self::MethodUnsupported => self.face_of_message(),
            Self::UpstreamBusy
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::UpstreamClosed
            | Self::UpstreamMalformed
            | Self::UpstreamTimeout
            | Self::Internal => self.face_of_upstream(),
            Self::KeyMissing
            | Self::KeyAmbiguous
            | Self::KeyMalformed
            | Self::KeyUnknown
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyNotYetValid
            | Self::KeyExpired
            | Self::NotEntitled => self.face_of_key(),
            _ => self.face_of_decision(),
        }
    }

    const fn face_of_message(self) -> Face {
        match self {
            Self::HeadTooLarge => face(
                431,
                "head-too-large",
                "The request head is too large",
                "head_too_large",
            ),
            Self::TargetTooLong => face(
                414,
                "target-too-long",
                "The request target is too long",
                "target_too_long",
            ),
            Self::TooManyHeaders => face(
                431,
                "too-many-headers",
                "The request has too many headers",
                "too_many_headers",
            ),
            Self::HeadTimeout => face(
                408,
                "head-timeout",
                "The request head did not arrive in time",
                "head_timeout",
            ),
            Self::VersionUnsupported => face(
                505,
                "version-unsupported",
                "This HTTP version is not served",
                "version",
            ),
            Self::CodingUnsupported => face(
                501,
                "coding-unsupported",
                "This transfer coding is not served",
                "coding",
            ),
            Self::FramingInvalid => face(
                400,
                "framing-invalid",
                "The length of the request is ambiguous",
                "framing",
            ),
            Self::ExpectationUnknown => face(
                417,
                "expectation-unknown",
                "This expectation cannot be met",
                "expectation",
            ),
            Self::PathUnsafe => face(
                400,
                "path-unsafe",
                "The path has segments that could be misread",
                "path_unsafe",
            ),
            Self::MethodUnsupported => face(
                501,
                "method-unsupported",
                "This method is not forwarded",
                "method_unsupported",
            ),
            _ => face(
                400,
                "head-malformed",
                "The request is not well-formed HTTP/1.1",
                "head",
            ),
        }
    }

    const fn face_of_decision(self) -> Face {
        match self {
            Self::Overloaded => face(503, "overloaded", OVERLOADED, "overloaded"),
            Self::NoSocket => face(503, "overloaded", OVERLOADED, "no_socket"),
            Self::NotReady => face(503, "not-ready", "The gateway is not ready", "not_ready"),
            Self::RouteUnknown => face(404, "route-unknown", "Nothing is served here", "route"),
            Self::MethodNotAllowed => face(
                405,
                "method-not-allowed",
                "This method is not served here",
                "method",
            ),
            Self::ApiVersionUnknown => face(
                400,
                "api-version-unknown",
                "The request names no version that is served here",
                "api_version",
            ),
            Self::BodyTooLarge => face(
                413,
                "body-too-large",
                "The request body is too large",
                "body_too_large",
            ),
            Self::NoTarget => face(
                503,
                "no-target",
                "No server is there to answer",
                "no_target",
            ),
            Self::LimitReached { .. } => face(
                429,
                "limit-reached",
                "The limit of this key's plan is reached",
                "limit",
            ),
            Self::LimitUnavailable => face(
                503,
                "limit-unavailable",
                "The limit of this key's plan cannot be counted",
                "limit_unavailable",
            ),
            Self::BodyTimeout => face(
                408,
                "body-timeout",
                "The request body did not arrive in time",
                "body_timeout",
            ),
            _ => face(
                400,
                "body-malformed",
                "The request body broke its framing",
                "body",
            ),
        }
    }

    const fn face_of_key(self) -> Face {
        match self {
            Self::KeyMissing => face(401, "key-missing", "This API needs a key", "key_missing"),
            Self::KeyAmbiguous => face(
                400,
                "key-ambiguous",
                "The request carries more than one key",
                "key_ambiguous",
            ),
            Self::KeyMalformed => face(401, "key-refused", KEY_REFUSED, "key_malformed"),
            Self::KeyUnknown => face(401, "key-refused", KEY_REFUSED, "key_unknown"),
            Self::KeyRevoked => face(401, "key-refused", KEY_REFUSED, "key_revoked"),
            Self::KeyDisabled => face(401, "key-refused", KEY_REFUSED, "key_disabled"),
            Self::KeyNotYetValid => face(401, "key-refused", KEY_REFUSED, "key_not_yet_valid"),
            Self::KeyExpired => face(401, "key-refused", KEY_REFUSED, "key_expired"),
            _ => face(
                403,
                "not-entitled",
                "The plan of this key does not include this API",
                "plan",
            ),
        }
    }

    const fn face_of_upstream(self) -> Face {
        match self {
            Self::UpstreamBusy => face(503, "upstream-busy", "The server is busy", "upstream_busy"),
            Self::ConnectFailed => face(
                502,
                "upstream-unreachable",
                "The server could not be reached",
                "connect",
            ),
            Self::ConnectTimeout => face(
                504,
                "upstream-unreachable",
                "The server could not be reached in time",
                "connect_timeout",
            ),
            Self::UpstreamClosed => face(
                502,
                "upstream-closed",
                "The server closed before it answered",
                "closed",
            ),
            Self::UpstreamMalformed => face(
                502,
                "upstream-malformed",
                "The server's answer is malformed",
                "malformed",
            ),
            Self::UpstreamTimeout => face(
                504,
                "upstream-timeout",
                "The server did not answer in time",
                "timeout",
            ),
            _ => face(
                500,
                "internal",
                "The gateway failed on this request",
                "internal",
            ),
        }
    }
}
