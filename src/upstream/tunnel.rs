//! A connection that has switched protocols: bytes both ways, until one side is done.
//!
//! What one side has not taken is not read from the other, so a tunnel holds two buffers while bytes
//! move, and none when it rests. It ends when both directions have, when either fails, when neither
//! moved for `http.tunnel_idle_timeout_ms`, or when its key would be refused now. Nothing of what
//! goes by is read, but for where WebSocket frames end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};

use super::exchange::Progress;
use super::websocket::{CLOSE_POLICY, Frames};
use crate::io::{Either, ReadHalf, Stream, WriteHalf, race};
use crate::record::{CloseCause, Counter};
use crate::worker::Worker;
use crate::worker::deadline::{Waiting, Watch};
use crate::worker::tunnels::{Entered, Opened};

/// What a direction rests with: enough to learn that more comes.
const RESTING_BYTES: usize = 256;

/// How long nothing may move once one side has ended: it may have gone without saying so.
const HALF_CLOSED_MS: u64 = 10_000;

/// Everything a tunnel is made of.
#[derive(Debug)]
pub struct Tunnel<'t> {
    /// The worker that runs it.
    pub worker: &'t Worker,
    /// Deadlines of both ends.
    pub watch: &'t Watch,
    /// What it was opened with.
    pub opened: Opened,
    /// It carries a WebSocket.
    pub is_websocket: bool,
    /// What the record will say.
    pub progress: &'t Progress,
    /// How long nothing may move.
    pub idle_timeout_ms: Cell<u64>,
}

/// Bytes that wait at each end when a tunnel opens.
#[derive(Debug)]
pub struct First {
    /// For the target: what the client sent behind its request.
    pub up: Vec<u8>,
    /// For the client: the head of the 101, and what the target sent behind it.
    pub down: Vec<u8>,
    /// How much of `down` is that head.
    pub head_bytes: usize,
}

/// One direction.
struct Direction<'d> {
    tunnel: &'d Tunnel<'d>,
    /// Bytes that moved, for the record.
    moved: &'d Cell<u64>,
    /// Follows WebSocket frames, towards a client.
    frames: Option<&'d RefCell<Frames>>,
    /// A write is under way: nothing may be put behind what was read last.
    writing: &'d Cell<bool>,
}

impl Tunnel<'_> {
    /// Carries bytes until the tunnel is over; why it is.
    pub async fn run(&self, client: &mut Stream, target: &mut Stream, first: First) -> CloseCause {
        self.worker.count(Counter::TunnelsOpened);
        let entered = self.worker.tunnels.enter(self.opened, client.fd());
        // The target has answered: from here on either side may rest.
        self.watch.upstream_free();
        self.renew();
        let frames = RefCell::new(Frames::default());
        frames.borrow_mut().follow(&first.down[first.head_bytes..]);
        let (writing_up, writing_down) = (Cell::new(false), Cell::new(false));
        let up = Direction {
            tunnel: self,
            moved: &self.progress.body_bytes_in,
            frames: None,
            writing: &writing_up,
        };
        let down = Direction {
            tunnel: self,
            moved: &self.progress.bytes_out,
            frames: self.is_websocket.then_some(&frames),
            writing: &writing_down,
        };
        let both = {
            let up = pin!(up.pass(&mut client.read, &mut target.write, first.up));
            let down = pin!(down.pass(&mut target.read, &mut client.write, first.down));
            self.both(up, down, &entered).await
        };
        self.worker.count(Counter::TunnelsClosed);
        let cause = self.cause(both, &entered);
        let fit = self.is_websocket && !writing_down.get() && frames.borrow().at_boundary();
        if cause == CloseCause::KeyRefused && fit {
            self.say_goodbye(&mut client.write).await;
        }
        cause
    }

    /// Runs both directions until both have ended, or one has failed; true if they ended well.
    async fn both(
        &self,
        mut up: Pin<&mut impl Future<Output = bool>>,
        mut down: Pin<&mut impl Future<Output = bool>>,
        entered: &Entered<'_>,
    ) -> bool {
        let over = |ended_well: bool| {
            !ended_well || entered.is_refused() || self.watch.expired().is_some()
        };
        let rest: Pin<&mut dyn Future<Output = bool>> = match race(up.as_mut(), down.as_mut()).await
        {
            Either::Left(ended_well) if !over(ended_well) => down,
            Either::Right(ended_well) if !over(ended_well) => up,
            _ => return false,
        };
        let idle_timeout_ms = self.idle_timeout_ms.get().min(HALF_CLOSED_MS);
        self.idle_timeout_ms.set(idle_timeout_ms);
        self.renew();
        rest.await
    }

    fn cause(&self, ended_well: bool, entered: &Entered<'_>) -> CloseCause {
        match ended_well {
            _ if entered.is_refused() => CloseCause::KeyRefused,
            _ if self.watch.expired().is_some() => CloseCause::TunnelIdle,
            true => CloseCause::TunnelEnded,
            false => CloseCause::TunnelBroken,
        }
    }

    /// Tells a WebSocket client why it is cut off, between two frames of the target.
    async fn say_goodbye(&self, client: &mut WriteHalf) {
        self.worker.client_until(self.watch, Waiting::Taking);
        let (outcome, _) = client.write_all(CLOSE_POLICY.to_vec(), 0).await;
        self.watch.client_free();
        if let Ok(bytes) = outcome {
            let sent = &self.progress.bytes_out;
            sent.set(sent.get() + bytes as u64);
            client.finish().await;
        }
    }

    /// Something moved: the tunnel's time begins anew.
    fn renew(&self) {
        let due_ms = self.worker.now_ms() + self.idle_timeout_ms.get();
        self.watch.client_until(Waiting::Tunnel, due_ms);
    }
}

impl Direction<'_> {
    /// Moves bytes until the source ends, which is passed on; false if either side failed.
    async fn pass(&self, source: &mut ReadHalf, sink: &mut WriteHalf, first: Vec<u8>) -> bool {
        if !first.is_empty() && !self.write(sink, first).await {
            return false;
        }
        loop {
            let Ok(buffer) = self.read(source).await else {
                return false;
            };
            if buffer.is_empty() {
                sink.finish().await;
                return true;
            }
            if let Some(frames) = self.frames {
                frames.borrow_mut().follow(&buffer);
            }
            if !self.write(sink, buffer).await {
                return false;
            }
        }
    }

    /// What comes next; empty at the end. Gives a big buffer back while nothing comes.
    async fn read(&self, source: &mut ReadHalf) -> std::io::Result<Vec<u8>> {
        let worker = self.tunnel.worker;
        let pooled = worker.buffers.take();
        let (outcome, buffer) = source.read_idle(pooled, &worker.parking).await;
        let (outcome, buffer) = match outcome {
            Some(outcome) => (outcome, buffer),
            None => {
                worker.buffers.give(buffer);
                source.read(Vec::with_capacity(RESTING_BYTES)).await
            }
        };
        outcome.map(|_| buffer)
    }

    async fn write(&self, sink: &mut WriteHalf, buffer: Vec<u8>) -> bool {
        self.writing.set(true);
        let (outcome, buffer) = sink.write_all(buffer, 0).await;
        self.tunnel.worker.buffers.give(buffer);
        let Ok(bytes) = outcome else {
            return false;
        };
        self.writing.set(false);
        self.moved.set(self.moved.get() + bytes as u64);
        self.tunnel.renew();
        true
    }
}
