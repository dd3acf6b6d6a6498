//! The limit: bytes come back as they came, without any protocol. It reads as
//! much as there is into one buffer for all connections and writes it at once.

use std::cell::RefCell;
use std::io::ErrorKind;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const READ_BYTES: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

fn main() -> anyhow::Result<()> {
    bench_peers::run(|listener| bench_peers::accept(listener, echo))
}

async fn echo(mut stream: TcpStream) -> anyhow::Result<()> {
    loop {
        stream.readable().await?;
        match BUFFER.with_borrow_mut(|buffer| pass(&stream, buffer)) {
            Ok(Passed::EndOfStream) => return Ok(()),
            Ok(Passed::All) => {}
            Ok(Passed::Rest(rest)) => stream.write_all(&rest).await?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

enum Passed {
    All,
    /// What the socket did not take.
    Rest(Vec<u8>),
    EndOfStream,
}

fn pass(stream: &TcpStream, buffer: &mut [u8]) -> std::io::Result<Passed> {
    let read = stream.try_read(buffer)?;
    if read == 0 {
        return Ok(Passed::EndOfStream);
    }
    let written = match stream.try_write(&buffer[..read]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        result => result?,
    };
    Ok(if written == read {
        Passed::All
    } else {
        Passed::Rest(buffer[written..read].to_vec())
    })
}
