//! The control process: owns the keys, and everything that people see of them.
//!
//! A change walks through the modules in this order:
//!
//! | step | module | what it does |
//! |---|---|---|
//! | ask | [`admin`] | the REST API; [`cli`] and [`apply`] are its clients |
//! | mean | [`domain`] | turns words into values that cannot hold nonsense |
//! | keep | [`store`] | one transaction: the change, its audit row, its generation number |
//! | publish | [`publish`] | rows → snapshot, reasons not to, receipts |
//! | tell | [`link`] | announces over the Unix socket, hears who serves what |
//! | count | [`ingest`] | usage in, exactly once |
//! | look | [`logs`] | searches of the nodes' call logs |
//!
//! Dependencies point one way: this crate knows the data plane's library (file format, link
//! protocol, key form), never the reverse.

pub mod admin;
pub mod alerts;
pub mod apply;
pub mod cli;
pub mod data_dir;
pub mod domain;
pub mod fixture;
pub mod ingest;
pub mod link;
pub mod logs;
pub mod publish;
pub mod serve;
pub mod state;
pub mod store;
