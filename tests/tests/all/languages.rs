//! The capabilities from other languages than Rust: the same words to the same handlers in C and in
//! JavaScript.

use wharf_tests::deadline::{STEP, eventually, scenario};
use wharf_tests::feed::Feed;
use wharf_tests::peer::Peer;
use wharf_tests::server::start;
use wharf_tests::site::{Folder, Mount, Site};
use wharf_tests::upstream::Upstream;

use crate::client::asked;
use crate::promises::covers;

#[test]
fn topics_keys_timers_and_attachments_work_from_c_and_javascript() {
    covers("sdk.languages");
    for guest in ["notes-c", "notes-js"] {
        scenario(async {
            let mount = Mount::new("/", guest).shared().set("idle", "50ms");
            let mount = mount.grant("topics", ["notes"]).grant("timers", true);
            let site = Site::new().section("storage", "path", "memory");
            let server = start(&site.mount(mount.grant("keyvalue", ["default"]))).await;
            let mut ada = Peer::connect(server.address, "/").await;
            let mut bob = Peer::connect(server.address, "/").await;
            assert_eq!(asked(&mut bob, "who").await, "2", "{guest}");
            assert_eq!(asked(&mut ada, "list").await, "no notes");
            assert_eq!(
                asked(&mut ada, "name Ada Lövelace").await,
                "hello Ada Lövelace"
            );
            let asleep = || match server.server.stats() {
                stats if stats.instances_asleep > 0 && stats.instances_live == 0 => Ok(()),
                stats => Err(format!("{stats:?}")),
            };
            eventually(STEP, "the instance sleeps", asleep).await;
            let first = "1 Ada Lövelace: κόσμε 😀";
            ada.send_text("note κόσμε 😀").await;
            for peer in [&mut ada, &mut bob] {
                peer.expect_text(&format!("note {first}")).await;
            }
            bob.send_text("note and I").await;
            for peer in [&mut ada, &mut bob] {
                peer.expect_text("note 2 somebody: and I").await;
            }
            let all = format!("{first}\n2 somebody: and I");
            assert_eq!(asked(&mut ada, "list").await, all, "{guest}");
            assert_eq!(asked(&mut bob, "remind 100 tea time").await, "will do");
            for peer in [&mut ada, &mut bob] {
                peer.expect_text("reminder tea time").await;
            }
            let right = asked(&mut bob, "remind me").await;
            assert_eq!(right, "say remind, milliseconds, and what of");
            let right = asked(&mut bob, "what").await;
            assert_eq!(right, "say name, note, list, remind, who");
            let long = "x".repeat(17 << 10);
            assert!(
                asked(&mut bob, &format!("name {long}"))
                    .await
                    .starts_with("sorry: ")
            );
        });
    }
}

#[test]
fn http_and_websockets_to_others_work_from_c_and_javascript() {
    covers("sdk.languages");
    for guest in ["proxy-c", "proxy-js"] {
        scenario(async {
            let upstream = Upstream::start(None).await;
            let mut feed = Feed::start(None).await;
            let (http, websocket) = (upstream.address.to_string(), feed.address.to_string());
            let folder = Folder::new();
            let token = folder.write("token", "s3cr3t\n").display().to_string();
            let mount = Mount::new("/", guest)
                .grant("http", [http.as_str()])
                .grant("websocket", [websocket.as_str()])
                .grant("private_addresses", true)
                .grant("logging", true)
                .config("upstream", format!("http://{http}"))
                .config("feed", format!("ws://{websocket}"))
                .secret_file("token", &token);
            let elsewhere = Mount::new("/elsewhere", guest)
                .grant("http", ["localhost:1"])
                .grant("websocket", ["localhost:1"])
                .grant("logging", true)
                .config("upstream", format!("http://{http}"))
                .config("feed", format!("ws://{websocket}"));
            let server = start(&Site::new().mount(mount).mount(elsewhere)).await;
            let mut peer = Peer::connect(server.address, "/").await;
            assert_eq!(
                asked(&mut peer, "get /hello").await,
                "200\n\nhello",
                "{guest}"
            );
            assert_eq!(asked(&mut peer, "get /trailed").await, "200\n\nhello");
            let said = asked(&mut peer, "get /said").await;
            assert!(said.contains("authorization: Bearer s3cr3t"), "{said}");
            for path in ["/cut", "/noise"] {
                let answer = asked(&mut peer, &format!("get {path}")).await;
                assert!(answer.starts_with("no answer: "), "{answer}");
            }
            let refused = asked(&mut peer, "open /status/404").await;
            assert!(refused.starts_with("no answer: "), "{refused}");
            assert_eq!(asked(&mut peer, "open /echo").await, "open", "{guest}");
            assert_eq!(asked(&mut peer, "κόσμε").await, "κόσμε");
            feed.say("news");
            assert_eq!(peer.text().await, "news");
            assert_eq!(asked(&mut peer, "close 4001").await, "closed: 4001 done");
            let right = asked(&mut peer, "hello").await;
            assert_eq!(right, "say get or open and a path, such as get /");
            assert!(
                feed.head()
                    .await
                    .contains("authorization: Bearer s3cr3t\r\n")
            );
            let mut peer = Peer::connect(server.address, "/elsewhere").await;
            for command in ["get /hello", "open /echo"] {
                let denied = asked(&mut peer, command).await;
                let is_said = denied.contains("not granted")
                    || denied.contains("denied")
                    || denied.contains("not-granted");
                assert!(is_said, "{guest}: {denied}");
            }
        });
    }
}
