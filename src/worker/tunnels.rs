//! The tunnels that a worker has open, and the keys they were opened with.
//!
//! A request is judged once; a tunnel lasts for hours. So it is judged again whenever the worker
//! adopts a newer view, and once a second for what ends by the clock: a tunnel that would be refused
//! now is closed. What it costs is a lookup for each tunnel and generation.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::authenticate;
use crate::authorize;
use crate::clock::WallTime;
use crate::io::{Shutdown, shut};
use crate::refusal::Refusal;
use crate::snapshot::{KeyRecord, View};

/// What a tunnel was opened with.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The key; none where the API asks for none.
    pub key: Option<KeyRecord>,
    /// The API's number.
    pub api: u32,
}

#[derive(Debug)]
struct Tunnel {
    /// As of the newest view: a key's end may have been set after its tunnel was opened.
    opened: Cell<Opened>,
    client: RawFd,
    refused: Cell<bool>,
}

/// All tunnels of one worker.
#[derive(Debug, Default)]
pub struct Tunnels {
    /// By a number of their own: many close at once when a tier's keys are revoked.
    open: RefCell<HashMap<u64, Rc<Tunnel>>>,
    next: Cell<u64>,
}

/// Keeps a tunnel among the open ones until it is dropped, which must be before the client's
/// descriptor is closed.
#[derive(Debug)]
pub struct Entered<'t> {
    tunnels: &'t Tunnels,
    number: u64,
    tunnel: Rc<Tunnel>,
}

impl Tunnels {
    /// A tunnel opens on the connection `client`.
    pub fn enter(&self, opened: Opened, client: RawFd) -> Entered<'_> {
        let tunnel = Rc::new(Tunnel {
            opened: Cell::new(opened),
            client,
            refused: Cell::new(false),
        });
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, Rc::clone(&tunnel));
        Entered {
            tunnels: self,
            number,
            tunnel,
        }
    }

    /// Closes what `view` would not let open any more.
    pub fn judge(&self, view: &View, now: WallTime) {
        for tunnel in self.open.borrow().values() {
            match again(view, tunnel.opened.get(), now) {
                Ok(opened) => tunnel.opened.set(opened),
                Err(_) => tunnel.refuse(),
            }
        }
    }

    /// Closes those whose key has come to its end.
    pub fn expire(&self, now: WallTime) {
        for tunnel in self.open.borrow().values() {
            let key = tunnel.opened.get().key;
            if key.is_some_and(|key| authenticate::admit(key, now).is_err()) {
                tunnel.refuse();
            }
        }
    }
}

/// The decision about a request that was admitted before, without its limits; its key's record as it
/// is now.
fn again(view: &View, opened: Opened, now: WallTime) -> Result<Opened, Refusal> {
    let api = view
        .catalog()
        .api_by_number(opened.api)
        .ok_or(Refusal::RouteUnknown)?;
    let Some(key) = opened.key else {
        return match api.key_required {
            true => Err(Refusal::KeyMissing),
            false => Ok(opened),
        };
    };
    let record = view.key(&key.digest).ok_or(Refusal::KeyUnknown)?;
    let caller = authenticate::admit(record, now)?;
    authorize::permit(view, caller, api)?;
    Ok(Opened {
        key: Some(record),
        ..opened
    })
}

impl Tunnel {
    fn refuse(&self) {
        if !self.refused.replace(true) {
            // Its reader wakes up and finds out why; the way to the client stays open for a last
            // word.
            shut(self.client, Shutdown::Read);
        }
    }
}

impl Entered<'_> {
    /// The tunnel's key is not valid for it any more.
    pub fn is_refused(&self) -> bool {
        self.tunnel.refused.get()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.tunnels.open.borrow_mut().remove(&self.number);
    }
}
