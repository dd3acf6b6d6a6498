//! The server under a service manager: sockets that it inherits, and what it says of itself.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use wharf_tests::deadline::{STEP, scenario};
use wharf_tests::peer::Peer;
use wharf_tests::server::{Child, binary};
use wharf_tests::site::{Folder, Site};

use crate::promises::covers;

/// What a service manager hears.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let path = folder.file("notify").display().to_string();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        Self { socket, path }
    }

    /// Waits for a message that has this in it; all that came before.
    fn wait_for(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 1_024];
            let length = self.socket.recv(&mut bytes);
            let length = length.unwrap_or_else(|error| panic!("no {wanted}: {error}; {heard:?}"));
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let found = text.lines().any(|line| line == wanted);
            heard.push(text);
            if found {
                return heard;
            }
        }
    }
}

/// The process that the log says to serve now; ended with this.
struct Successor(String);

impl Successor {
    fn of(log: &str) -> Self {
        let (_, rest) = log.split_once("a successor starts").unwrap();
        let digits = rest.split_once("\"process\":").unwrap().1.chars();
        Self(digits.take_while(char::is_ascii_digit).collect())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let kill = format!("kill -KILL {}", self.0);
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}

fn serve(config: &std::path::Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--config").arg(config);
    command.args(["--log-format", "json"]);
    command
}

#[test]
fn a_service_manager_hears_how_the_server_is() {
    covers("service.notify");
    scenario(async {
        let folder = Folder::new();
        let manager = Manager::new(&folder);
        let config = folder.write("wharf.toml", Site::echo().toml());
        let mut command = serve(&config);
        command
            .env("NOTIFY_SOCKET", &manager.path)
            .env("WATCHDOG_USEC", "300000");
        let mut server = Child::spawn(folder, command);
        manager.wait_for("READY=1");
        // Of workers that answer.
        for _ in 0..3 {
            manager.wait_for("WATCHDOG=1");
        }
        server.signal("HUP");
        let said = manager.wait_for("RELOADING=1");
        assert!(said.last().unwrap().contains("MONOTONIC_USEC="), "{said:?}");
        manager.wait_for("READY=1");
        server.signal("TERM");
        manager.wait_for("STOPPING=1");
        let status = server.exit_within(Duration::from_secs(10)).await;
        assert!(status.success(), "{status}");
    });
}

#[test]
fn sockets_of_a_service_manager_are_served() {
    covers("service.sockets");
    scenario(async {
        // What systemd does: a socket as descriptor 3, and its name.
        const MANAGER: &str = "\
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
os.dup2(os.dup(listener.fileno()), 3)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='wharf.socket')
print(listener.getsockname()[1], file=open(sys.argv[1], 'w'), flush=True)
os.execv(sys.argv[2], sys.argv[2:])";
        let folder = Folder::new();
        // No `listen`: where the socket is, is said by the manager.
        let site = Site::echo().toml();
        let without = site.lines().filter(|line| !line.starts_with("listen"));
        let without: Vec<_> = without.collect();
        let config = folder.write("wharf.toml", without.join("\n"));
        let port = folder.file("port");
        let mut command = Command::new("python3");
        command.args(["-c", MANAGER]).arg(&port).arg(binary());
        command.arg("serve").arg("--config").arg(&config);
        command.args(["--log-format", "json"]);
        let mut server = Child::spawn(folder, command);
        let port = std::fs::read_to_string(port).unwrap();
        assert_eq!(server.address.port().to_string(), port.trim());
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.expect_echo("over an inherited socket").await;
        peer.leave(1000).await;
        // A successor has it, too.
        server.signal("USR2");
        let status = server.exit_within(STEP).await;
        assert!(status.success(), "{status}");
        let _ended = Successor::of(&server.log());
        let mut peer = Peer::connect(server.address, "/echo").await;
        peer.expect_echo("over a socket that was handed on").await;
    });
}
