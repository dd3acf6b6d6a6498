//! `cargo xtask demo`: from a fresh clone to a chat between two browser tabs.
//! It becomes the server in the end, so that Ctrl-C and other signals reach
//! the server itself.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow, bail};

use crate::outcome::Outcome;
use crate::{guests, served};

/// What `cargo xtask demo` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the server listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Builds what is missing and serves the chat. Returns only on failure.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let listen = arguments.listen;
    // Better known now than after minutes of compiling.
    check_free(listen)?;
    println!("1/3  the chat handler, for the sandbox");
    guests::build(&["chat".to_owned()])?;
    println!("2/3  the server; its first build compiles wasmtime, which takes minutes");
    let wharf = served::build_host(root)?;
    check_free(listen)?;
    println!("3/3  starting\n");
    if listen.port() == 0 {
        println!("    Open the address below in two browser tabs and chat. Ctrl-C stops.\n");
    } else {
        println!("    Open  http://{listen}/  in two browser tabs and chat. Ctrl-C stops.\n");
    }
    let mut server = Command::new(wharf);
    server
        .args(["serve", "--config"])
        .arg(root.join("examples/chat/server.toml"));
    server.args(["--listen", &listen.to_string()]);
    Err(anyhow!(server.exec()).context("the server could not be started"))
}

fn check_free(listen: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "{listen} is in use by another program. Stop that one, or take another port:\n\
             \n    cargo xtask demo --listen {}:{}",
            listen.ip(),
            listen.port().checked_add(1).unwrap_or(0),
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {listen}")),
    }
}
