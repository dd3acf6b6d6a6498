//! tokio-websockets, with one write for all that has arrived; with `--each`
//! every message is sent by itself, as in its example.

use bench_peers::{FAN_OUT, echo_corked, echo_each, fan_out, writes_each};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

fn main() -> anyhow::Result<()> {
    let each = writes_each();
    let all = bench_peers::publications();
    bench_peers::run(|listener| {
        bench_peers::accept(listener, move |stream| {
            tokio::task::unconstrained(serve(stream, each, all.clone()))
        })
    })
}

async fn serve(
    stream: TcpStream,
    each: bool,
    all: broadcast::Sender<Message>,
) -> anyhow::Result<()> {
    let (request, socket) = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited())
        .accept(stream)
        .await?;
    match (request.uri().path() == FAN_OUT, each) {
        (true, _) => fan_out(socket, all).await,
        (false, true) => echo_each(socket).await,
        (false, false) => echo_corked(socket).await,
    }
}
