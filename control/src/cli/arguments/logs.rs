//! The words about the call log.

use super::Whose;
use crate::admin::time::Moment;
use clap::Args;
use std::net::IpAddr;

/// Which calls.
#[derive(Clone, Debug, Args)]
pub struct LogsArguments {
    #[command(flatten)]
    pub whose: Whose,
    /// To the route with this path pattern.
    #[arg(long, value_name = "PATTERN")]
    pub route: Option<String>,
    /// Answered with this status, or with one of a class: 404, 5xx.
    #[arg(long)]
    pub status: Option<String>,
    /// Refused by the gateway for this cause, as the log names it.
    #[arg(long, value_name = "CAUSE")]
    pub refusal: Option<String>,
    /// With this method.
    #[arg(long)]
    pub method: Option<String>,
    /// With a path that begins like this.
    #[arg(long, value_name = "PREFIX")]
    pub path: Option<String>,
    /// From this client address.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// With this request id.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Of this trace.
    #[arg(long, value_name = "ID")]
    pub trace_id: Option<String>,
    /// From this time on, or for a span back from now: 90s, 15m, 24h, 30d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// How many, the newest, 1 to 10000 [default: 100].
    #[arg(long, value_name = "LINES")]
    pub limit: Option<u32>,
    /// Go on with what is logged from now on.
    #[arg(long, short, conflicts_with = "until")]
    pub follow: bool,
}
