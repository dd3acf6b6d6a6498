//! fastwebsockets, as in its example: hyper for the handshake, then a frame
//! read and a frame written. It has no way to hold writes together.

use bench_peers::FAN_OUT;
use bytes::Bytes;
use fastwebsockets::upgrade::{self, UpgradeFut};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::broadcast;

type Publications = broadcast::Sender<(bool, Bytes)>;

fn main() -> anyhow::Result<()> {
    let all: Publications = bench_peers::publications();
    bench_peers::run(|listener| {
        bench_peers::accept(listener, move |stream| serve(stream, all.clone()))
    })
}

async fn serve(stream: TcpStream, all: Publications) -> anyhow::Result<()> {
    let service = service_fn(|request| answer(request, all.clone()));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    Ok(())
}

async fn answer(
    mut request: Request<Incoming>,
    all: Publications,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, socket) = upgrade::upgrade(&mut request)?;
    if request.uri().path() == FAN_OUT {
        tokio::spawn(fan_out(socket, all));
    } else {
        tokio::spawn(tokio::task::unconstrained(echo(socket)));
    }
    Ok(response)
}

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn fan_out(socket: UpgradeFut, all: Publications) -> Result<(), WebSocketError> {
    let mut publications = all.subscribe();
    let (reader, mut writer) = socket.await?.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    tokio::spawn(async move {
        while let Ok((text, payload)) = publications.recv().await {
            let payload = Payload::Borrowed(&payload);
            let frame = if text {
                Frame::text(payload)
            } else {
                Frame::binary(payload)
            };
            writer.write_frame(frame).await?;
        }
        Ok::<(), WebSocketError>(())
    });
    loop {
        let frame = reader
            .read_frame(&mut |_| async { Ok::<(), WebSocketError>(()) })
            .await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let text = frame.opcode == OpCode::Text;
                // The writer of this connection receives it at least.
                let _ = all.send((text, Bytes::copy_from_slice(&frame.payload)));
            }
            _ => {}
        }
    }
}
