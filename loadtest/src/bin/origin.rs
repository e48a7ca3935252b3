//! `origin`: a small real HTTP/1.1 origin that shows what reached it. See
//! [`keyway_loadtest::origin`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keyway_loadtest::trouble::{Outcome, Trouble};
use keyway_loadtest::{files, origin, signals};

/// A small origin: shows what reached it.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// File to write the address to once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("origin: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Outcome<()> {
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await
        .map_err(Trouble::io(format!("listen on {}", arguments.listen)))?;
    let address = listener
        .local_addr()
        .map_err(Trouble::io("ask for our own address"))?;
    println!("origin on http://{address}");
    if let Some(path) = &arguments.port_file {
        files::write(path, address.to_string())?;
    }
    tokio::select! {
        served = axum::serve(listener, origin::routes()).into_future() => {
            served.map_err(Trouble::io("serve"))
        }
        // Answers under way are cut: this origin keeps nothing that could be lost.
        stopped = signals::interrupt() => stopped,
    }
}
