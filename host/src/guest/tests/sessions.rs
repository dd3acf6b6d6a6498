//! What a guest does to its sessions, over real outboxes and in-memory sockets.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, DuplexStream};
use wharf_protocol::{Connection, Keepalive, Role};

use super::super::examine::examine;
use super::super::program::link;
use super::*;
use crate::capability::sessions::FUNCTIONS;
use crate::mailbox::{Lane, Outbox, OutboxConfig, OutboxParts, RouteLane};
use crate::request::{Request, Said};
use crate::wire::{Socket, Wire};

/// Sends each message of a batch back to its session; the last answer is at 64.
const ECHO: &str = r#"
  (func (export "on-messages") (param $place i32) (param $count i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (call $send (i64.load (local.get $place)) (i32.load8_u offset=8 (local.get $place))
        (i32.load offset=12 (local.get $place)) (i32.load offset=16 (local.get $place))
        (i32.const 64))
      (local.set $place (i32.add (local.get $place) (i32.const 24)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next)))
    (global.set $next (i32.const 4096)))"#;

/// One session whose socket holds `socket_bytes` and whose outbox holds 1,000.
fn session(members: &Members, socket_bytes: usize, may_wait: bool) -> (Outbox, DuplexStream) {
    let lane = Rc::new(Lane::new(Instant::now(), 1, 0, 1));
    let (near, far) = tokio::io::duplex(socket_bytes);
    let now = lane.clock.now();
    let connection = Connection::new(
        Role::Server,
        Arc::default(),
        Keepalive::default(),
        None,
        now,
        1,
    );
    let outbox = Outbox::new(OutboxParts {
        id: 7,
        wire: Wire::new(Socket::Memory(near), connection),
        route: RouteLane::uncounted(
            &lane,
            OutboxConfig {
                outbox_bytes_max: 1_000,
                message_bytes_max: 5_000,
                write_timeout: Duration::from_millis(20),
                slow_consumer_timeout: Duration::from_secs(30),
            },
        ),
        request: Some(Request::new(&Said::default())),
        subprotocol: None,
        may_wait,
        facts: None,
        is_opened: false,
    });
    members.insert(outbox.clone());
    (outbox, far)
}

async fn start_with(functions: &str, members: &Members) -> Instance {
    let program = compile(functions, &limits());
    Instance::start(&program, around(members.clone()))
        .await
        .expect("it starts")
}

/// Traps unless the answer at 64 is an error, and this one.
fn expect_error(case: u32) -> String {
    format!(
        "(if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then (unreachable)))
         (if (i32.ne (i32.load8_u (i32.const 72)) (i32.const {case})) (then (unreachable)))"
    )
}

const FULL: u32 = 1;
const TOO_LARGE: u32 = 2;

#[tokio::test]
async fn an_echo_answers_text_with_text_and_bytes_with_bytes() {
    let members = Members::default();
    let (outbox, mut peer) = session(&members, 4_096, false);
    let mut instance = start_with(ECHO, &members).await;
    let messages = [
        (7, Message::Text("grüße")),
        (7, Message::Binary(&[0, 255])),
        (8, Message::Text("to nobody")),
    ];
    instance
        .deliver(messages.into_iter())
        .await
        .expect("it echoes");
    outbox.lane().cork.release();
    let mut frames = [0; 13];
    peer.read_exact(&mut frames).await.expect("two frames");
    assert_eq!(frames[..9], *b"\x81\x07gr\xc3\xbc\xc3\x9fe");
    assert_eq!(frames[9..], [0x82, 2, 0, 255]);
}

#[tokio::test]
async fn a_text_that_is_not_utf8_is_a_trap() {
    let members = Members::default();
    let (outbox, _peer) = session(&members, 4_096, false);
    let body = format!(
        "(i32.store8 (i32.const 0) (i32.const 0xff)) {}",
        send(0, 0, 1)
    );
    let mut instance = start_with(&on_open(&body), &members).await;
    let fault = instance.on_open(7).await.expect_err("no text");
    assert!(trap_text(fault).contains("utf-8"));
    assert_eq!(outbox.queued_bytes(), 0);
}

#[tokio::test]
async fn a_message_over_its_limit_is_answered_with_the_limit() {
    let members = Members::default();
    let (outbox, _peer) = session(&members, 4_096, false);
    let limit = "(if (i64.ne (i64.load (i32.const 80)) (i64.const 5000)) (then (unreachable)))";
    let body = format!(
        "{} {} {limit}",
        send(1, 0, 100_000),
        expect_error(TOO_LARGE)
    );
    let mut instance = start_with(&on_open(&body), &members).await;
    assert_eq!(instance.on_open(7).await, Ok(()));
    assert_eq!(outbox.queued_bytes(), 0);
}

#[tokio::test]
async fn a_send_that_may_not_wait_says_full_at_once() {
    let members = Members::default();
    let (_outbox, _peer) = session(&members, 16, false);
    let body = format!(
        "{} {} {}",
        send(1, 0, 4_000),
        send(1, 0, 10),
        expect_error(FULL)
    );
    let mut instance = start_with(&on_open(&body), &members).await;
    let mut call = std::pin::pin!(instance.on_open(7));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(
        call.as_mut().poll(&mut context),
        std::task::Poll::Ready(Ok(()))
    );
}

#[tokio::test]
async fn a_send_that_may_wait_says_full_after_the_write_timeout() {
    let members = Members::default();
    let (outbox, _peer) = session(&members, 16, true);
    let body = format!(
        "{} {} {}",
        send(1, 0, 4_000),
        send(1, 0, 10),
        expect_error(FULL)
    );
    let mut instance = start_with(&on_open(&body), &members).await;
    let started = Instant::now();
    let lane = Rc::clone(outbox.lane());
    tokio::select! {
        result = instance.on_open(7) => assert_eq!(result, Ok(())),
        () = lane.clock.run() => unreachable!("the clock runs for ever"),
    }
    assert!(started.elapsed() >= Duration::from_millis(15));
}

#[tokio::test]
async fn waiting_in_a_host_call_uses_wall_time_and_no_cpu() {
    let members = Members::default();
    let (_outbox, _peer) = session(&members, 16, true);
    // Nobody runs the clock, so that only the call's own deadline can end the wait.
    let body = format!("{} {}", send(1, 0, 4_000), send(1, 0, 10));
    let limits = GuestLimits {
        cpu_per_call: Duration::from_millis(10),
        wall_per_call: Duration::from_millis(100),
        ..limits()
    };
    let program = compile(&on_open(&body), &limits);
    let mut instance = Instance::start(&program, around(members.clone()))
        .await
        .expect("it starts");
    assert_eq!(instance.on_open(7).await, Err(GuestFault::OutOfTime.into()));
}

/// The whole interface as wit/sessions.wit has it: linking checks every type.
#[test]
fn every_function_of_the_contract_is_there_with_its_type() {
    let text = r#"(component
      (import "wharf:websocket/sessions@0.1.0" (instance
        (type $m (variant (case "text" string) (case "binary" (list u8))))
        (export "message" (type $message (eq $m)))
        (type $c (record (field "code" u16) (field "reason" string)))
        (export "close-reason" (type $close-reason (eq $c)))
        (type $u (record (field "scheme" string) (field "authority" string)
          (field "path" string) (field "query" (option string))
          (field "params" (list (tuple string string)))
          (field "headers" (list (tuple string (list u8))))
          (field "remote-address" string) (field "subprotocols" (list string))))
        (export "upgrade-request" (type $request (eq $u)))
        (type $e (variant (case "closed") (case "full") (case "too-large" u64)))
        (export "session-error" (type $error (eq $e)))
        (type $answer (result (error $error)))
        (export "send" (func (param "session" u64) (param "message" $message) (result $answer)))
        (export "try-send"
          (func (param "session" u64) (param "message" $message) (result $answer)))
        (export "queued-bytes" (func (param "session" u64) (result u64)))
        (export "flush" (func (param "session" u64) (result $answer)))
        (export "close" (func (param "session" u64) (param "reason" $close-reason)))
        (export "request" (func (param "session" u64) (result (option $request))))
        (export "subprotocol" (func (param "session" u64) (result (option string))))
        (export "name" (func (param "session" u64) (result (option string))))
        (export "attachment" (func (param "session" u64) (result (list u8))))
        (export "set-attachment"
          (func (param "session" u64) (param "value" (list u8)) (result $answer)))
        (export "tags" (func (param "session" u64) (result (list string))))
        (export "set-tags"
          (func (param "session" u64) (param "tags" (list string)) (result $answer)))
        (export "set-ping-interval"
          (func (param "session" u64) (param "milliseconds" (option u64))))
        (export "set-timeout" (func (param "session" u64) (param "milliseconds" u64)))
        (export "set-auto-response" (func (param "session" u64)
          (param "pair" (option (tuple string string))) (result $answer)))
        (export "list" (func (param "tag" (option string)) (result (list u64))))
        (export "find" (func (param "name" string) (result (option u64))))
        (export "count" (func (result u64))))))"#;
    let engine = engine();
    let bytes = wat::parse_str(text).expect("well-formed");
    let examined = examine(&engine, &bytes, &limits()).expect("it compiles");
    assert!(
        examined.imports.iter().all(|import| import.verdict.is_ok()),
        "{:?}",
        examined.imports
    );
    if let Err(error) = link(&examined) {
        panic!("{error}");
    }
    assert_eq!(text.matches("(export \"").count() - 4, FUNCTIONS.len());
}
