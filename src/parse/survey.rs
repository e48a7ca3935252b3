//! One pass over a head's headers: what the gateway itself must know of them.

use httparse::Header;

use crate::parse::framing::{FramingHeaders, Once};
use crate::parse::headers::{ConnectionOptions, Kind, kind, split_list};

/// The headers that decide how a message is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey<'b> {
    pub framing: FramingHeaders<'b>,
    pub host: Once<'b>,
    pub expect: Once<'b>,
    pub upgrade: Once<'b>,
    pub connection: ConnectionOptions,
    /// `TE` lists `trailers`.
    pub accepts_trailers: bool,
}

impl<'b> Survey<'b> {
    /// Surveys `headers`; `None` if a `Connection` header is malformed.
    pub fn of(headers: &[Header<'b>]) -> Option<Self> {
        let mut survey = Self::default();
        for header in headers {
            match kind(header.name) {
                Kind::Other | Kind::Trailer | Kind::OtherHopByHop => {}
                Kind::Host => survey.host.add(header.value),
                Kind::ContentLength => survey.framing.content_length.add(header.value),
                Kind::TransferEncoding => survey.framing.transfer_encoding.add(header.value),
                Kind::DisguisedFraming => survey.framing.disguised = true,
                Kind::Expect => survey.expect.add(header.value),
                Kind::Upgrade => survey.upgrade.add(header.value),
                Kind::Connection => {
                    if !survey.connection.add(header.value) {
                        return None;
                    }
                }
                Kind::Te => {
                    survey.accepts_trailers |= split_list(header.value)
                        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
                }
            }
        }
        Some(survey)
    }
}
