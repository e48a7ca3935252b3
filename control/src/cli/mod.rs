//! The command line as a client of the admin API.
