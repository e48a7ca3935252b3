//! Segments of usage on their way to control: one at a time, sent again until control says that it
//! has it.
//!
//! In: the [spool](crate::spool)'s outlet. Out: messages, and word back to the spool. Absent on
//! purpose: the disk; a segment that is not acknowledged when the process ends is still in the spool.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::protocol::NodeMessage;
use crate::spool::{Outlet, Sealed};

/// The state of the shipment.
#[derive(Debug)]
pub struct Shipper {
    outlet: Outlet,
    traveling: Option<Sealed>,
}

impl Shipper {
    /// Nothing travels yet.
    pub fn new(outlet: Outlet) -> Self {
        Self {
            outlet,
            traveling: None,
        }
    }

    /// Where the next segment is heard of; nothing is, while one travels.
    pub fn ready(&self) -> crossbeam::channel::Receiver<Sealed> {
        match self.traveling {
            None => self.outlet.next.clone(),
            Some(_) => crossbeam::channel::never(),
        }
    }

    /// Takes a segment that was ready; the message to send it with.
    pub fn take(&mut self, sealed: Sealed) -> NodeMessage {
        let message = message(&sealed);
        self.traveling = Some(sealed);
        message
    }

    /// The segment that travels, to be sent again on a new connection.
    pub fn again(&self) -> Option<NodeMessage> {
        self.traveling.as_ref().map(message)
    }

    /// Control has the segment. Answers its requests; zero for an acknowledgment of anything else.
    pub fn acknowledged(&mut self, boot: u64, sequence: u64) -> u64 {
        let is_it = |sealed: &mut Sealed| sealed.boot == boot && sealed.sequence == sequence;
        let Some(sealed) = self.traveling.take_if(is_it) else {
            return 0;
        };
        self.outlet.shipped(boot, sequence);
        sealed.requests
    }

    /// Whether one is on its way.
    pub fn is_traveling(&self) -> bool {
        self.traveling.is_some()
    }
}

fn message(sealed: &Sealed) -> NodeMessage {
    NodeMessage::Segment {
        boot: sealed.boot,
        sequence: sealed.sequence,
        data: STANDARD.encode(&sealed.bytes),
    }
}
