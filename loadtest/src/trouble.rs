//! What can go wrong while driving the gateway, one variant per cause, each with its mend.

use std::path::PathBuf;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Programs are not installed.
    #[error("missing: {}\ninstall: {install}", missing.join(", "))]
    Missing {
        /// Their names.
        missing: Vec<&'static str>,
        /// The command that brings them.
        install: String,
    },
    /// Fewer processor cores than the job needs.
    #[error("this needs {needed} processor cores and may use {usable}")]
    Cores {
        /// How many it takes.
        needed: usize,
        /// How many this process may use.
        usable: usize,
    },
    /// A file, directory or socket of ours failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process ended, or never became ready.
    #[error("{name} {what}; its last words:\n{log}")]
    Process {
        /// Which one.
        name: String,
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// An HTTP exchange failed.
    #[error("{what} {target}: {reason}")]
    Http {
        /// What was being sent.
        what: String,
        /// Where to.
        target: String,
        /// Why it failed.
        reason: String,
    },
    /// Something answered, but not what this job is about: figures of it would be worthless.
    #[error("{name}: {what}")]
    Wrong {
        /// Who answered.
        name: String,
        /// Expected and seen.
        what: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// The result of everything here that may fail.
pub type Outcome<T> = Result<T, Trouble>;

impl Trouble {
    /// Wraps an I/O error with what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The file operation `verb` on `path` failed.
    pub fn file(verb: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("{verb} {}", path.into().display()))
    }

    /// Something is not what it should be.
    pub fn wrong(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Wrong {
            name: name.into(),
            what: what.into(),
        }
    }
}
