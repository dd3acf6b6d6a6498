//! A handler that imports what no host grants: two interfaces of a package
//! that does not exist. It must be refused before it runs, each import named.

wit_bindgen::generate!({
    inline: "
        package stranger:danger@1.2.3;

        interface files { read: func(path: string) -> list<u8>; }
        interface network { dial: func(address: string) -> u32; }

        world ungranted {
            import files;
            import network;
        }
    ",
});

use stranger::danger::{files, network};
use wharf_guest::{Handler, Message, Session};

#[derive(Default)]
struct Ungranted;

impl Handler for Ungranted {
    fn on_message(&mut self, session: Session, _message: Message<'_>) {
        let socket = network::dial("127.0.0.1:22");
        let _ = session.send(&files::read(&format!("/etc/passwd{socket}")));
    }
}

wharf_guest::export!(Ungranted);
