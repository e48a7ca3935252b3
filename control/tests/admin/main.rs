//! The admin API and its command line, with a real store, a real publisher and real sockets.

mod access;
mod alerts;
mod apply;
mod commands;
mod document;
mod edge;
mod generations;
mod idempotency;
mod imports;
mod keys;
mod logs;
mod metrics;
mod operating;
mod pages;
mod problems;
mod program;
mod things;
mod walkthrough;
mod webhooks;
mod world;
