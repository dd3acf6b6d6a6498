//! Deeds below the bindings: calls into the host with pointers and lengths
//! that no compiler would make. It never touches what they point to.

use std::arch::wasm32;

use wharf_guest::Session;

/// Bytes: more than a guest's memory can hold here.
const HALF_OF_ALL: usize = 1 << 31;

// SAFETY: these are the flattened signatures of the contract's functions; the
// component does not validate with others.
#[link(wasm_import_module = "wharf:websocket/sessions@0.1.0")]
unsafe extern "C" {
    #[link_name = "send"]
    fn send(session: u64, kind: i32, payload: usize, bytes: usize, answer: *mut u64);
    #[link_name = "set-attachment"]
    fn set_attachment(session: u64, value: usize, bytes: usize, answer: *mut u64);
    #[link_name = "set-tags"]
    fn set_tags(session: u64, tags: usize, count: usize, answer: *mut u64);
    #[link_name = "close"]
    fn close(session: u64, code: i32, reason: usize, bytes: usize);
}

/// Does a raw deed; `None` when the word names none.
pub(crate) fn perform(session: Session, deed: &str) -> Option<String> {
    let id = session.id();
    // Where an answer is written: a result's tag, an error's tag, a limit.
    let mut answer = [0_u64; 3];
    let place = answer.as_mut_ptr();
    let wrong = [0xff_u8, 0xfe];
    let same = "x".repeat(1 << 20);
    let many: Vec<(usize, usize)> = if deed == "amplify-tags" {
        vec![(same.as_ptr() as usize, same.len()); 1_000_000]
    } else {
        Vec::new()
    };
    // After the last allocation: none moves it any more.
    let end = wasm32::memory_size(0) * 65_536;
    // SAFETY: the host checks every pointer and length against the memory
    // before it reads, and traps the guest when they are wrong: that is what
    // is tested. `answer` is large and aligned enough for every answer.
    unsafe {
        match deed {
            "list-binary" => send(id, 1, 0, HALF_OF_ALL, place),
            "list-text" => send(id, 0, 0, HALF_OF_ALL, place),
            "list-attachment" => set_attachment(id, 0, HALF_OF_ALL, place),
            "list-reason" => close(id, 4000, 0, HALF_OF_ALL),
            "list-tags" => set_tags(id, 0, 1 << 27, place),
            "list-end" => send(id, 1, end - 64, 65, place),
            "amplify-tags" => set_tags(id, many.as_ptr() as usize, many.len(), place),
            "bad-utf8" => send(id, 0, wrong.as_ptr() as usize, wrong.len(), place),
            "bad-kind" => send(id, 2, wrong.as_ptr() as usize, wrong.len(), place),
            _ => return None,
        }
    }
    Some(match answer.map(|word| word & 0xff) {
        [0, ..] => "ok".to_owned(),
        [_, 2, _] => format!("too-large:{}", answer[2]),
        [_, 1, _] => "full".to_owned(),
        _ => "closed".to_owned(),
    })
}
