//! Why a command failed: the cause, the mend, and the exit code.

use crate::admin::problem::ProblemBody;
use crate::apply::yaml::YamlError;
use std::io;
use std::path::PathBuf;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The words on the command line do not go together.
    #[error("{0}")]
    Usage(String),
    /// There is no admin token to show.
    #[error("no admin token: set KEYWAY_TOKEN, or give --token-file FILE")]
    TokenMissing,
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A gateway file is faulty.
    #[error("{file} cannot be applied:{}", lines(faults))]
    Document {
        /// Its name.
        file: String,
        /// What is wrong with it.
        faults: Vec<YamlError>,
    },
    /// Nobody answers.
    #[error(
        "cannot reach control at {url}: {cause}\n  is `keyway-control serve` running there? \
         --url or KEYWAY_URL says where to look"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// An answer broke off.
    #[error("control's answer broke off: {0}")]
    Broken(String),
    /// Somebody answers who is not Keyway's control.
    #[error("{url} answered {status}, but not as Keyway's control does; is --url right?")]
    Foreign {
        /// Who was asked.
        url: String,
        /// What it answered.
        status: u16,
    },
    /// Control said no.
    #[error("{}", refused(.0))]
    Refused(Box<ProblemBody>),
    /// The change was made and is durable, but it is not proven to be in force.
    #[error("{0}")]
    NotProven(String),
    /// The terminal or pipe is gone.
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl CliError {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) | Self::TokenMissing | Self::File { .. } | Self::Document { .. } => 2,
            Self::Unreachable { .. } | Self::Broken(_) | Self::Foreign { .. } | Self::Output(_) => {
                3
            }
            Self::NotProven(_) => 4,
        }
    }

    /// Says it on stderr. A reader that left early (`| head`) is no failure worth a word.
    pub(super) fn tell(&self) {
        if !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            eprintln!("keyway-control: {self}");
        }
    }
}

fn lines(faults: &[YamlError]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

fn refused(problem: &ProblemBody) -> String {
    let mut text = problem.detail.clone();
    // The detail tells the first one already.
    if problem.errors.len() > 1 {
        text = format!("{}:", problem.title);
        for fault in &problem.errors {
            text += &format!("\n  {fault}");
        }
    }
    let mend = match problem.code.as_str() {
        "unauthenticated" => "set KEYWAY_TOKEN or --token-file to a token that is not withdrawn",
        "idempotency-key-reused" => "take a fresh --idempotency-key for another request",
        "publish-refused" => "if that is what you want: `publish --allow-shrink`",
        "key-revoked" => "make another key, or rotate one that is alive",
        _ => return text,
    };
    format!("{text}\n  {mend}")
}
