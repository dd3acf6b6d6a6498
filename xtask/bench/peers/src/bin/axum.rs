//! axum's WebSocket extractor, with one write for all that has arrived; with
//! `--each` every message is sent by itself, as in its example.

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt;
use bench_peers::{FAN_OUT, echo_corked, echo_each, fan_out, writes_each};
use tokio::sync::broadcast;

fn main() -> anyhow::Result<()> {
    let each = writes_each();
    let all: broadcast::Sender<Message> = bench_peers::publications();
    let echo = get(move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |socket| async move {
            // An error is the end of this connection only.
            let _ = match each {
                true => echo_each(socket).await,
                false => echo_corked(socket).await,
            };
        })
    });
    let publish = get(move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |socket| async move {
            let _ = fan_out(socket, all).await;
        })
    });
    let router = Router::new().route("/", echo).route(FAN_OUT, publish);
    bench_peers::run(|listener| async move {
        let listener = listener.tap_io(|stream| {
            // Only a matter of speed: a refusal harms nothing.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await?;
        Ok(())
    })
}
