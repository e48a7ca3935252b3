//! Keyway's data plane: an API gateway whose center is the key.
//!
//! Modules stand in the order in which a request meets them; [`pipeline`] tells the story.
//!
//! | stage | module | question it answers |
//! |---|---|---|
//! | accept | [`accept`] | may this connection exist? |
//! | parse | [`parse`] | is this one well-formed request, and where does its body end? |
//! | route | [`route`] | which API is meant? |
//! | authenticate | [`authenticate`] | whose key is this? |
//! | authorize | [`authorize`] | may it do this? |
//! | limit | [`limit`] | how much of it is left? |
//! | upstream | [`upstream`] | who answers, and what did they say? |
//! | respond | [`respond`] | what does the client see? |
//! | record | [`record`] | what do we remember of it? |
//!
//! Beside the flow stand [`snapshot`] (everything a request is judged by, as one immutable file),
//! [`link`] (the threads that may block: control, admin, files), [`worker`] (one event loop per
//! core), [`ledger`] (consumed quotas, on the disk), [`spool`] (usage on its way to control),
//! [`trace`] (spans on their way to a collector), [`watch`] (what the node finds out about its
//! targets by itself) and [`io`] (the only place
//! that names the runtime). [`node`] puts the process together,
//! from [`settings`] and the command line in [`cli`].

pub mod accept;
pub mod authenticate;
pub mod authorize;
pub mod cli;
pub mod clock;
pub mod durable;
pub mod io;
pub mod ledger;
pub mod limit;
pub mod link;
pub mod node;
pub mod parse;
pub mod pipeline;
pub mod published;
pub mod record;
pub mod refusal;
pub mod respond;
pub mod route;
pub mod settings;
pub mod snapshot;
pub mod spool;
pub mod trace;
pub mod upstream;
pub mod watch;
pub mod worker;
