//! tokio-tungstenite. Its example forwards what it reads to its sink, which
//! writes when nothing more has arrived; with `--each` every message is sent
//! by itself. `--small-buffer` reads into 4 KiB instead of 128.

use bench_peers::{FAN_OUT, echo_corked, echo_each, fan_out, writes_each};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

struct Settings {
    each: bool,
    config: WebSocketConfig,
}

fn main() -> anyhow::Result<()> {
    let mut config = WebSocketConfig::default();
    if std::env::args().any(|argument| argument == "--small-buffer") {
        config = config.read_buffer_size(4096);
    }
    let each = writes_each();
    let all = bench_peers::publications();
    bench_peers::run(|listener| {
        bench_peers::accept(listener, move |stream| {
            serve(stream, Settings { each, config }, all.clone())
        })
    })
}

async fn serve(
    stream: TcpStream,
    settings: Settings,
    all: broadcast::Sender<Message>,
) -> anyhow::Result<()> {
    let mut fans_out = false;
    #[allow(
        clippy::result_large_err,
        reason = "the library wants its callback to answer so"
    )]
    let see_path = |request: &Request, response: Response| {
        fans_out = request.uri().path() == FAN_OUT;
        Ok(response)
    };
    let config = Some(settings.config);
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, see_path, config).await?;
    match (fans_out, settings.each) {
        (true, _) => fan_out(socket, all).await,
        (false, true) => echo_each(socket).await,
        (false, false) => echo_corked(socket).await,
    }
}
