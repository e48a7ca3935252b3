//! The Unix socket to the nodes.
