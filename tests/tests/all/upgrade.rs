//! A new program under the open sockets: whoever connects is served by the one or the other, what
//! may be in one process only is never in two, and a successor that fails leaves everything as it
//! was.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_tests::deadline::{STEP, alone, eventually, scenario, within};
use wharf_tests::figure::figure;
use wharf_tests::frame::Frame;
use wharf_tests::guests;
use wharf_tests::http::Head;
use wharf_tests::peer::{Incoming, Peer};
use wharf_tests::process::Process;
use wharf_tests::server::{Child, binary, run};
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::stream::{Dial, Stream};

use crate::deploy_harbour::{ask, heir};
use crate::promises::covers;

/// What the last sessions of a process may take that is ended: they leave one after the other.
const LEAVE: Duration = Duration::from_secs(40);

/// Servers that take each other's place. The harness ends the first; this ends the others.
struct Chain {
    first: Child,
    admin: SocketAddr,
    token: String,
    /// The process that serves now.
    serving: Cell<u32>,
}

impl Chain {
    fn start(folder: Folder, site: &Site) -> Self {
        let made = run(&["token", "--json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        let site = site
            .clone()
            .section("admin", "listen", "127.0.0.1:0")
            .section("admin.token.op", "sha256", text("sha256"))
            .section("admin.token.op", "operator", true)
            .section_default("engine", "instances_max", 256);
        let first = Child::start_in(folder, &site);
        let process = first.process().0;
        Self {
            admin: first.admin(),
            first,
            token: text("token"),
            serving: Cell::new(process),
        }
    }

    fn address(&self) -> SocketAddr {
        self.first.address
    }

    /// Runs a command against whoever serves, on a thread: clients go on meanwhile.
    async fn wharf(&self, arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let (admin, token) = (format!("http://{}", self.admin), self.token.clone());
        let output = tokio::task::spawn_blocking(move || {
            Command::new(binary())
                .args(arguments)
                .args(["--admin", &admin])
                .env("WHARF_TOKEN", token)
                .output()
                .expect("the command can be started")
        });
        let output = output.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    async fn status(&self) -> Value {
        let text = self.wharf(&["status", "--json"]).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Notes who serves now; not the same as before.
    fn note(&self, process: &Value) {
        let process = u32::try_from(process.as_u64().unwrap()).unwrap();
        assert_ne!(process, self.serving.get(), "another process serves");
        self.serving.set(process);
    }

    async fn upgrade(&self, arguments: &[&str]) {
        let arguments = [&["upgrade", "--json"], arguments].concat();
        let text = self.wharf(&arguments).await;
        let text = text.unwrap_or_else(|error| panic!("{error}\n{}", self.first.log()));
        let answer: Value = serde_json::from_str(&text).unwrap();
        self.note(&answer["process"]);
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // Those, too, that a test which failed has not noted.
        let log = self.first.log();
        let started = log.split("a successor starts\",\"process\":").skip(1);
        let numbers = started.filter_map(|rest| rest.split([',', '}']).next()?.parse().ok());
        for process in numbers.filter(|one| Process(*one).is_alive()) {
            let kill = format!("kill -KILL {process}");
            let _ = Command::new("sh").args(["-c", &kill]).status();
        }
    }
}

fn site() -> Site {
    Site::echo()
        .workers(2)
        .mount(Mount::new("/rooms/{room}", "probe").set("instance", "{room}"))
        .mount(
            Mount::new("/store", "store")
                .grant("keyvalue", ["default"])
                .grant("timers", true),
        )
        .section("storage", "path", "wharf.redb")
}

/// What a client that connects again and again has seen.
#[derive(Default)]
struct Seen {
    connections: Cell<u64>,
    /// What it was told that the counter holds.
    sum: Cell<u64>,
    failures: RefCell<Vec<String>>,
}

/// Connects, asks, leaves; until it is told to stop. An upgrade may ask it to come again (1012) at
/// any moment after the handshake, and refuses no handshake.
async fn come_and_go(
    address: SocketAddr,
    path: &'static str,
    seen: Rc<Seen>,
    stop: Rc<Cell<bool>>,
) {
    while !stop.get() {
        let outcome = visit(address, path, &seen).await;
        seen.connections.set(seen.connections.get() + 1);
        if let Err(failure) = outcome {
            seen.failures.borrow_mut().push(failure);
        }
    }
}

async fn visit(address: SocketAddr, path: &str, seen: &Seen) -> Result<(), String> {
    let stream = Dial::default().tcp(address).await;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    let peer = Peer::try_open(Stream::Tcp(stream), &Head::upgrade(path)).await;
    let mut peer = peer.map_err(|response| format!("{path}: {}", response.status))?;
    let asked = match path {
        "/store" => Frame::text("add\tdefault\tvisits\t1"),
        _ => Frame::text("here"),
    };
    if peer.raw_or_fail(asked.encode(peer.key)).await.is_err() {
        return Err("the question was not taken".to_owned());
    }
    match peer.next_but_pings_within(STEP).await {
        Incoming::Frame(frame) if frame.opcode == wharf_tests::frame::opcode::CLOSE => {
            let code = frame
                .payload
                .get(..2)
                .map(|code| u16::from_be_bytes([code[0], code[1]]));
            let _gone = peer
                .raw_or_fail(Frame::close(1012, "").encode(peer.key))
                .await;
            return match code {
                Some(1012) => Ok(()),
                other => Err(format!("closed with {other:?}")),
            };
        }
        Incoming::Frame(frame) if path == "/store" => {
            let text = String::from_utf8_lossy(&frame.payload).into_owned();
            let sum = text.parse().map_err(|_| format!("the store: {text}"))?;
            if sum <= seen.sum.get() {
                return Err(format!("{sum} after {}", seen.sum.get()));
            }
            seen.sum.set(sum);
        }
        Incoming::Frame(frame) if frame.payload == b"here" => {}
        other => return Err(format!("{path}: {other:?}")),
    }
    peer.leave(1000).await;
    Ok(())
}

/// Waits until that many clients have come.
async fn reach(visits: impl Fn() -> u64, enough: u64) {
    let used = async {
        while visits() < enough {
            tokio::task::yield_now().await;
        }
    };
    within(STEP, "visits", used).await;
}

#[test]
fn nobody_who_connects_is_refused_during_upgrades() {
    covers("upgrade.sockets");
    covers("upgrade.storage");
    alone(async {
        const UPGRADES: usize = 3;
        let chain = Chain::start(Folder::new(), &site());
        let address = chain.address();
        let mut quiet = Peer::connect(address, "/echo").await;
        quiet.expect_echo("before").await;
        let mut member = Peer::connect(address, "/rooms/a").await;
        let seen = [(); 3].map(|()| Rc::new(Seen::default()));
        let stop = Rc::new(Cell::new(false));
        let clients = tokio::task::LocalSet::new();
        // Answers its close at once, so that nobody waits for it.
        let left = clients.spawn_local(async move { member.expect_closed(1012).await });
        let paths = ["/echo", "/echo", "/store"];
        for (path, seen) in paths.into_iter().zip(&seen) {
            clients.spawn_local(come_and_go(address, path, seen.clone(), stop.clone()));
        }
        let visits = || seen.iter().map(|seen| seen.connections.get()).sum::<u64>();
        let (mut longest, mut left) = (Duration::ZERO, Some(left));
        let upgrades = async {
            for _ in 0..UPGRADES {
                let begin = Instant::now();
                chain.upgrade(&["--drain-for", "2s"]).await;
                longest = longest.max(begin.elapsed());
                // What may be in one process only was asked to come again; the rest goes on.
                if let Some(left) = left.take() {
                    assert_eq!(left.await.unwrap(), "restarting");
                    quiet.expect_echo("after").await;
                    let before = Process(chain.first.process().0);
                    assert!(before.is_alive(), "the old process has a session");
                }
                // Each process is used before it is replaced.
                reach(&visits, visits() + 30).await;
            }
            // It was over its time, or its successor was replaced: asked to come again at last.
            quiet.expect_close(1012).await;
            quiet.send(Frame::close(1012, "")).await;
            stop.set(true);
        };
        clients.run_until(upgrades).await;
        within(STEP, "the last visits", clients).await;
        let failures: Vec<_> = seen.iter().flat_map(|seen| seen.failures.take()).collect();
        let log = chain.first.log();
        assert!(failures.is_empty(), "{failures:?}\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        // What was acknowledged by any of the processes is there.
        let mut last = Peer::connect(address, "/store").await;
        last.send_text("get\tdefault\tvisits").await;
        let stored: u64 = last.text().await.parse().unwrap();
        assert!(
            stored >= seen[2].sum.get(),
            "{stored} < {}",
            seen[2].sum.get()
        );
        let visits = visits();
        figure(
            "upgrade.sockets",
            format!(
                "{UPGRADES} upgrades under {visits} connections, {} of them with writes: 0 refused, \
                 0 reset, 0 writes lost; the longest took {longest:.2?}",
                seen[2].connections.get()
            ),
        );
    });
}

/// Asks for upgrades to what is none, each of which is refused before room is made for it.
async fn ask_in_vain(chain: &Chain, config: &str) {
    let folder = &chain.first.folder;
    let no_program = folder.file("nothing").display().to_string();
    let refused = chain.wharf(&["upgrade", &no_program]).await.unwrap_err();
    assert!(refused.contains("No such file"), "{refused}");
    let text = folder.write("text", "no program");
    let refused = chain.wharf(&["upgrade", &text.display().to_string()]).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("Permission denied"), "{refused}");
    let refused = chain.wharf(&["upgrade", "/bin/false"]).await.unwrap_err();
    assert!(
        refused.contains("it has ended (exit status: 1)"),
        "{refused}"
    );
    folder.write("wharf.toml", format!("{config}\nnonsense = 1\n"));
    let refused = chain.wharf(&["upgrade"]).await.unwrap_err();
    assert!(
        refused.contains("no key nonsense") && refused.contains("goes on as it was"),
        "{refused}"
    );
    // One that says nothing, however long one waits.
    let mute = folder.write("mute", "#!/bin/sh\nexec sleep 600\n");
    std::fs::set_permissions(&mute, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mute = mute.display().to_string();
    let impatient = ["upgrade", &mute, "--ready-within", "300ms"];
    let refused = chain.wharf(&impatient).await.unwrap_err();
    assert!(refused.contains("not ready within 300ms"), "{refused}");
}

#[test]
fn a_successor_that_fails_leaves_everything_as_it_was() {
    covers("upgrade.failure");
    scenario(async {
        let chain = Chain::start(Folder::new(), &site());
        let folder = &chain.first.folder;
        let mut quiet = Peer::connect(chain.address(), "/echo").await;
        let mut store = Peer::connect(chain.address(), "/store").await;
        store.send_text("set\tdefault\tkey\tvalue").await;
        store.expect_text("ok").await;
        let config = std::fs::read_to_string(folder.file("wharf.toml")).unwrap();
        ask_in_vain(&chain, &config).await;

        // It fails when room was made for it already: in the place of the storage is something else.
        let other = folder.write("other.redb", "this is no database");
        let path = other.display().to_string();
        folder.write("wharf.toml", config.replace("wharf.redb", &path));
        let refused = chain.wharf(&["upgrade"]).await.unwrap_err();
        assert!(refused.contains("it is no storage of Wharf"), "{refused}");
        store.expect_close(1012).await;
        let mut again = Peer::connect(chain.address(), "/store").await;
        again.send_text("get\tdefault\tkey").await;
        again.expect_text("value").await;
        quiet.expect_echo("all the time").await;
        assert_eq!(
            chain.status().await["process"],
            u64::from(chain.first.process().0)
        );
        chain.first.assert_healthy();

        // And with a sound one it does what it could not before, told by a signal.
        folder.write("wharf.toml", &config);
        chain.first.signal("USR2");
        again.expect_close(1012).await;
        again.send(Frame::close(1012, "")).await;
        let mut next = Peer::connect(chain.address(), "/store").await;
        next.send_text("get\tdefault\tkey").await;
        next.expect_text("value").await;
        // For a moment both may answer operators.
        let successor = within(STEP, "an answer of the successor", async {
            loop {
                let process = chain.status().await["process"].clone();
                if process != u64::from(chain.first.process().0) {
                    return process;
                }
            }
        });
        chain.note(&successor.await);
        quiet.expect_echo("in the old process").await;
    });
}

#[test]
fn the_new_process_tells_what_is_left_in_the_old_one() {
    covers("upgrade.sockets");
    scenario(async {
        let mut chain = Chain::start(Folder::new(), &Site::echo());
        let mut quiet = Peer::connect(chain.address(), "/echo").await;
        quiet.expect_echo("one").await;
        chain.upgrade(&[]).await;
        within(STEP, "the count of the old process", async {
            while chain.status().await["predecessor_sessions"] != 1 {}
        })
        .await;
        quiet.expect_echo("two").await;
        quiet.leave(1000).await;
        let status = chain.first.exit_within(STEP).await;
        assert!(status.success(), "{status}");
        within(STEP, "its end", async {
            while !chain.status().await["predecessor_sessions"].is_null() {}
        })
        .await;
    });
}

#[test]
fn deployments_go_over_to_the_successor() {
    covers("deploy.upgrade");
    scenario(async {
        let site = Site::echo()
            .workers(2)
            .section("deployments", "path", "deployments")
            .section(
                "tenant.acme.deploy",
                "grants",
                wharf_tests::site::Value::Table,
            );
        let (folder, manifests) = (Folder::new(), Folder::new());
        let mut chain = Chain::start(folder, &site);
        let deploy = async |name: &str, manifest: String| {
            let manifest = manifests.write("m.toml", manifest);
            let (manifest, guest) = (manifest.display().to_string(), guests::path("heir"));
            let guest = guest.display().to_string();
            let what = ["deploy", &guest, "--manifest", &manifest, "--name", name];
            let told = chain
                .wharf(&[&what[..], &["--tenant", "acme"]].concat())
                .await;
            told.unwrap_or_else(|error| panic!("{error}\n{}", chain.first.log()))
        };
        deploy("chat", heir("chat", 1)).await;
        // With an instance for each key, which is in one process only.
        let rooms = "[route]\npath = \"/rooms/{room}\"\ninstance = \"{room}\"\n";
        deploy("rooms", format!("{rooms}[route.config]\nversion = \"1\"\n")).await;
        let mut own = Peer::connect(chain.address(), "/acme/chat").await;
        ask(&mut own, "a", "1 1 1 a").await;
        let mut shared = Peer::connect(chain.address(), "/acme/rooms/a").await;
        ask(&mut shared, "a", "1 1 1 a").await;
        let (answer, _) = tokio::join!(shared.expect_close(1012), chain.upgrade(&[]));
        assert_eq!(answer, "restarting");
        // The old process serves the session that it has, the new one whoever comes.
        ask(&mut own, "b", "1 2 2 b").await;
        for path in ["/acme/chat", "/acme/rooms/a"] {
            let mut new = Peer::connect(chain.address(), path).await;
            ask(&mut new, "x", "1 1 1 x").await;
            new.leave(1000).await;
        }
        // The registry is the new one's: it takes deploys, and who is in the old process stays there.
        let told = deploy("chat", heir("chat", 2)).await;
        assert!(told.contains("generation 2"), "{told}");
        let mut new = Peer::connect(chain.address(), "/acme/chat").await;
        ask(&mut new, "a", "2 1 1 a").await;
        ask(&mut own, "c", "1 3 3 c").await;
        // By a signal to whoever serves; with it the first process ends, and asks its last to come again.
        let kill = format!("kill -USR2 {}", chain.serving.get());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success(), "{sent}");
        assert_eq!(own.expect_close_within(1012, LEAVE).await, "restarting");
        within(STEP, "another process", async {
            loop {
                let process = chain.status().await["process"].as_u64().unwrap();
                if process != u64::from(chain.serving.get()) {
                    return chain.note(&process.into());
                }
            }
        })
        .await;
        ask(&mut new, "b", "2 2 2 b").await;
        let mut last = Peer::connect(chain.address(), "/acme/chat").await;
        ask(&mut last, "a", "2 1 1 a").await;
        let told = deploy("chat", heir("chat", 3)).await;
        assert!(told.contains("generation 3"), "{told}");
        let status = chain.first.exit_within(STEP).await;
        assert!(status.success(), "{status}");
    });
}

/// The value of a line of `/proc/PID/status`.
fn proc_status(process: u32, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.strip_prefix(':'))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn the_process_and_its_successors_give_up_their_rights() {
    covers("rights.given-up");
    scenario(async {
        let chain = Chain::start(Folder::new(), &Site::echo());
        chain.upgrade(&["--drain-for", "1s"]).await;
        // No rule of the process before is left in the way of the next.
        chain.upgrade(&["--drain-for", "1s"]).await;
        let process = chain.serving.get();
        assert_eq!(proc_status(process, "NoNewPrivs"), "1");
        assert_eq!(proc_status(process, "Seccomp"), "2");
        assert_eq!(proc_status(process, "Seccomp_filters"), "2");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(proc_status(process, set), "0".repeat(16), "{set}");
        }
        assert_eq!(proc_status(process, "Umask"), "0077");
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let status =
            |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("status"));
        // One that ends meanwhile has none.
        let threads: Vec<_> = threads.flatten().flat_map(status).collect();
        assert!(threads.len() > 1, "{threads:?}");
        for status in threads {
            assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
            assert!(status.contains("Seccomp:\t2\n"), "{status}");
        }
        let status = chain.status().await;
        for held in ["system_calls", "capabilities", "new_privileges"] {
            assert_eq!(status["rights"][held], "held", "{status}");
        }
        figure("rights.given-up", format!("{}", status["rights"]));
    });
}

#[test]
fn a_reload_for_which_the_rights_are_gone_is_refused_by_name() {
    covers("rights.given-up");
    scenario(async {
        let chain = Chain::start(Folder::new(), &Site::echo());
        let status = chain.status().await;
        if status["rights"]["files"] == "not held" {
            return figure("rights.given-up", "this kernel has no landlock");
        }
        let elsewhere = Folder::new();
        let page = elsewhere.write("page.html", "<p>elsewhere</p>");
        let path = page.display().to_string();
        let folder = &chain.first.folder;
        let config = std::fs::read_to_string(folder.file("wharf.toml")).unwrap();
        let with_page = format!("{config}\n[[page]]\npath = \"/page\"\nfile = \"{path}\"\n");
        folder.write("wharf.toml", &with_page);
        chain.first.signal("HUP");
        let log = eventually(STEP, "the refusal in the log", || {
            let log = chain.first.log();
            match log.contains("cannot be read: Permission denied") {
                true => Ok(log),
                false => Err(log),
            }
        });
        log.await;
        let head = Head::get("/page");
        let page = || wharf_tests::peer::exchange(chain.address(), &head);
        assert_eq!(page().await.status, 404);
        // A new process has the rights that its configuration asks for.
        chain.upgrade(&["--drain-for", "1s"]).await;
        assert_eq!(page().await.status, 200);
    });
}
