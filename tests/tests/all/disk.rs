//! A disk without room under a running server: what needs it is told so, everything else goes on, and
//! nothing that was acknowledged is lost.

use std::process::Command;
use std::time::{Duration, Instant};

use wharf_tests::deadline::{STEP, alone};
use wharf_tests::figure::figure;
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, binary};
use wharf_tests::site::{Folder, Mount, Site};

use crate::promises::covers;

const FILE: &str = "wharf.redb";
const FAILED: &str = "error the storage failed";
/// Far more than what the storage takes to try again.
const PATIENCE: Duration = Duration::from_secs(60);

fn site() -> Site {
    let store = Mount::new("/", "store").grant("keyvalue", ["default"]);
    Site::new()
        .section("storage", "path", FILE)
        .mount(
            store
                .grant("timers", true)
                .set("instance", "{room}")
                .set("path", "/{room}"),
        )
        .mount(Mount::new("/echo", "echo"))
}

/// A server in whose process a file that may not grow is an error, as on a full disk, and no signal.
fn start(folder: Folder) -> Child {
    let config = folder.write("wharf.toml", site().toml());
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(binary());
    command.arg("serve").arg("--config").arg(config);
    command.args(["--log-format", "json"]);
    Child::spawn(folder, command)
}

/// Sets how large a file of the server's may become.
fn limit(server: &Child, bytes: &str) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", server.process().0))
        .arg(format!("--fsize={bytes}:unlimited"))
        .status()
        .expect("prlimit is part of util-linux");
    assert!(status.success());
}

async fn ask(peer: &mut Peer, command: &str) -> String {
    peer.send_text(command).await;
    peer.text().await
}

async fn set(peer: &mut Peer, number: u32) -> String {
    let value = format!("{number} ").repeat(4 << 10);
    ask(peer, &format!("set\tdefault\tk{number}\t{value}")).await
}

/// Everything that was acknowledged is there; how many are not, if the storage is not to be had.
async fn check(peer: &mut Peer, acknowledged: &[u32]) -> Result<(), String> {
    for number in acknowledged {
        let found = ask(peer, &format!("get\tdefault\tk{number}")).await;
        if found == FAILED {
            return Err(found);
        }
        assert_eq!(found, format!("{number} ").repeat(4 << 10), "k{number}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error_for_who_writes_and_over_when_there_is_room() {
    covers("disk.full");
    alone(async {
        let mut server = start(Folder::new());
        let mut echo = Peer::connect(server.address, "/echo").await;
        let mut peer = Peer::connect(server.address, "/a").await;
        let (mut acknowledged, mut refused, mut next) = (Vec::new(), 0, 0);
        for _ in 0..20 {
            assert_eq!(set(&mut peer, next).await, "ok");
            acknowledged.push(next);
            next += 1;
        }
        let bytes = std::fs::metadata(server.folder.file(FILE)).unwrap().len();
        limit(&server, &bytes.to_string());
        while refused < 10 {
            match set(&mut peer, next).await.as_str() {
                "ok" => acknowledged.push(next),
                said => {
                    assert_eq!(said, FAILED);
                    refused += 1;
                }
            }
            next += 1;
        }
        assert_eq!(
            ask(&mut peer, "timer\tt\t60000").await,
            "error TimerError::Storage"
        );
        // Reading goes on, once the file was looked through; so does everything else.
        let begun = Instant::now();
        while let Err(said) = check(&mut peer, &acknowledged).await {
            assert!(begun.elapsed() < PATIENCE, "{said}");
        }
        let readable = begun.elapsed();
        echo.expect_echo("untouched").await;
        assert!(
            server.log().contains("the storage fails"),
            "{}",
            server.log()
        );
        limit(&server, "unlimited");
        let begun = Instant::now();
        while set(&mut peer, next).await != "ok" {
            assert!(begun.elapsed() < PATIENCE, "there is room again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let writable = begun.elapsed();
        acknowledged.push(next);
        check(&mut peer, &acknowledged).await.unwrap();
        server.signal("TERM");
        server.exit_within(STEP).await;
        let server = start(std::mem::take(&mut server.folder));
        let mut peer = Peer::connect(server.address, "/a").await;
        check(&mut peer, &acknowledged).await.unwrap();
        figure(
            "disk.full",
            format!(
                "{refused} of {next} writes refused, {} acknowledged, 0 lost; readable after {readable:.0?}, \
                 writable {writable:.0?} after there is room",
                acknowledged.len()
            ),
        );
    });
}
