//! Components written in text, each doing one thing to its host, and what came of it.
//!
//! The components know the canonical ABI by hand: no guest toolchain is needed here.

mod sessions;
mod wasi;
mod worlds;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_protocol::{Ending, Initiator, Message};

use super::{Engine, EngineConfig, GuestLimits, Instance, Program, ProgramError, World, inspect};
use crate::capability::{Services, Surroundings};
use crate::catalog::{Grants, ProgramId, Route, Target};
use crate::fault::{Fault, GuestFault, HostFault};
use crate::mailbox::{Lane, Members};
use crate::timers::Owner;

/// The types that the contract's functions need, imported as every component does.
const TYPES: &str = r#"
  (import "wharf:websocket/types@0.1.0" (instance $types
    (type $m (variant (case "text" string) (case "binary" (list u8))))
    (export "message" (type $message (eq $m)))
    (type $d (record (field "session" u64) (field "message" $message)))
    (export "delivery" (type (eq $d)))
    (type $c (record (field "code" u16) (field "reason" string)))
    (export "close-reason" (type (eq $c)))
    (type $i (enum "peer" "handler" "host"))
    (export "initiator" (type $initiator (eq $i)))
    (type $e (record (field "code" u16) (field "reason" string) (field "clean" bool)
      (field "initiator" $initiator)))
    (export "ending" (type (eq $e)))
    (type $u (record (field "scheme" string) (field "authority" string) (field "path" string)
      (field "query" (option string)) (field "params" (list (tuple string string)))
      (field "headers" (list (tuple string (list u8)))) (field "remote-address" string)
      (field "subprotocols" (list string))))
    (export "upgrade-request" (type (eq $u)))))
  (alias export $types "message" (type $message))
  (alias export $types "delivery" (type $delivery))
  (alias export $types "close-reason" (type $close-reason))
  (alias export $types "ending" (type $ending))
  (import "wharf:websocket/sessions@0.1.0" (instance $sessions
    (alias outer 1 $message (type $m))
    (export "message" (type $message (eq $m)))
    (alias outer 1 $close-reason (type $c))
    (export "close-reason" (type $close-reason (eq $c)))
    (type $e (variant (case "closed") (case "full") (case "too-large" u64)))
    (export "session-error" (type $error (eq $e)))
    (export "send" (func (param "session" u64) (param "message" $message)
      (result (result (error $error)))))
    (export "flush" (func (param "session" u64) (result (result (error $error)))))
    (export "count" (func (result u64)))))
"#;

/// Memory and an allocator that never frees, but is reset by each call of `on-messages`.
const MEMORY: &str = r#"
  (core module $memory
    (memory (export "memory") 2)
    (global $next (export "next") (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and
        (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $next (i32.add (local.get $place) (local.get 3)))
      (local.get $place)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $memory))
  (core func $send (canon lower (func $sessions "send") (memory $memory)))
  (core func $flush (canon lower (func $sessions "flush") (memory $memory)))
  (core func $count (canon lower (func $sessions "count")))
"#;

/// Lifts what the module `$main` exports.
const EXPORTS: &str = r#"
  (core instance $main (instantiate $main
    (with "memory" (instance $memory))
    (with "more" (instance))
    (with "sessions" (instance
      (export "send" (func $send)) (export "flush" (func $flush)) (export "count" (func $count))))))
  (func $on-open (param "session" u64) (canon lift (core func $main "on-open")))
  (func $on-messages (param "batch" (list $delivery))
    (canon lift (core func $main "on-messages") (memory $memory)
      (realloc (core func $memory "realloc"))))
  (func $on-close (param "session" u64) (param "ending" $ending)
    (canon lift (core func $main "on-close") (memory $memory)
      (realloc (core func $memory "realloc"))))
  (instance $handler
    (export "on-open" (func $on-open))
    (export "on-messages" (func $on-messages))
    (export "on-close" (func $on-close)))
  (export "wharf:websocket/handler@0.1.0" (instance $handler))
"#;

/// What an instance without sessions finds around it.
fn surroundings() -> Surroundings {
    around(Members::default())
}

fn around(members: Members) -> Surroundings {
    let lane = Rc::new(Lane::new(Instant::now(), 0, 0, 1));
    Surroundings {
        members,
        route: Arc::new(Route::new("/", Target::Component(ProgramId(0)))),
        services: Rc::new(Services::alone(lane)),
        timer_owner: Owner::Session(0),
        instance: 0,
        succeeds: false,
    }
}

/// What the module's functions do by default: nothing.
const OPEN: &str = "(func (export \"on-open\") (param i64))";
const MESSAGES: &str = "(func (export \"on-messages\") (param i32 i32))";
const CLOSE: &str = "(func (export \"on-close\") (param i64 i32 i32 i32 i32 i32))";

/// A component around the functions of a core module; functions left out do nothing.
pub(crate) fn component(functions: &str) -> Vec<u8> {
    component_that_imports("", "", functions)
}

/// The same with more imports of the component, and its core functions by name that they become.
fn component_that_imports(imports: &str, core_functions: &str, functions: &str) -> Vec<u8> {
    let exports = EXPORTS.replace("(with \"more\" (instance))", core_functions);
    let missing = [
        ("on-open", OPEN),
        ("on-messages", MESSAGES),
        ("on-close", CLOSE),
    ]
    .into_iter()
    .filter(|(name, _)| !functions.contains(&format!("\"{name}\"")))
    .map(|(_, function)| function)
    .collect::<String>();
    let text = format!(
        r#"(component {TYPES} {MEMORY} {imports}
          (core module $main
            (import "memory" "memory" (memory 1))
            (import "memory" "next" (global $next (mut i32)))
            (import "sessions" "send" (func $send (param i64 i32 i32 i32 i32)))
            (import "sessions" "flush" (func $flush (param i64 i32)))
            (import "sessions" "count" (func $count (result i64)))
            {functions} {missing})
          {exports})"#
    );
    wat::parse_str(text).expect("the test's component is well-formed")
}

fn engine() -> Engine {
    // Small, because every test has its own and address space is not endless.
    Engine::new(&EngineConfig { instances_max: 4 }).expect("an engine")
}

fn compile(functions: &str, limits: &GuestLimits) -> Arc<Program> {
    let program = Program::compile(
        &engine(),
        "test",
        &component(functions),
        limits,
        &Grants::default(),
    );
    Arc::new(program.expect("the test's component is as the contract says"))
}

fn limits() -> GuestLimits {
    GuestLimits {
        memory_bytes_max: 4 << 20,
        cpu_per_call: Duration::from_millis(50),
        wall_per_call: Duration::from_secs(5),
        ..GuestLimits::default()
    }
}

async fn start(functions: &str) -> Result<Instance, Fault> {
    Instance::start(&compile(functions, &limits()), surroundings()).await
}

/// Starts the component and opens a session; returns what came of it.
async fn open(functions: &str) -> Result<(), Fault> {
    start(functions).await?.on_open(7).await
}

fn on_open(body: &str) -> String {
    format!("(func (export \"on-open\") (param i64) {body})")
}

fn trap_text(fault: Fault) -> String {
    match fault {
        Fault::Guest(GuestFault::Trap(text)) => text,
        other => panic!("no trap: {other:?}"),
    }
}

#[tokio::test]
async fn calls_reach_the_guest_in_order_with_their_arguments() {
    // Traps unless each argument is what the test passes.
    let mut instance = start(
        r#"
        (func $check (param i32) (br_if 0 (local.get 0)) (unreachable))
        (func (export "on-open") (param i64) (call $check (i64.eq (local.get 0) (i64.const 7))))
        (func (export "on-messages") (param i32 i32)
          (call $check (i32.eq (local.get 1) (i32.const 2)))
          (call $check (i64.eq (i64.load (local.get 0)) (i64.const 7)))
          (call $check (i32.eqz (i32.load8_u offset=8 (local.get 0))))
          (call $check (i32.eq (i32.load offset=16 (local.get 0)) (i32.const 2)))
          (call $check (i32.eq (i32.load16_u (i32.load offset=12 (local.get 0))) (i32.const 0x6968)))
          (call $check (i64.eq (i64.load offset=24 (local.get 0)) (i64.const 8)))
          (call $check (i32.eq (i32.load8_u offset=32 (local.get 0)) (i32.const 1)))
          (call $check (i32.eqz (i32.load offset=40 (local.get 0)))))
        (func (export "on-close") (param i64 i32 i32 i32 i32 i32)
          (call $check (i32.eq (local.get 1) (i32.const 4001)))
          (call $check (i32.eq (local.get 3) (i32.const 3)))
          (call $check (local.get 4))
          (call $check (i32.eq (local.get 5) (i32.const 2))))"#,
    )
    .await
    .expect("it starts");
    instance.on_open(7).await.expect("on-open");
    let messages = [(7, Message::Text("hi")), (8, Message::Binary(b""))];
    instance
        .deliver(messages.into_iter())
        .await
        .expect("on-messages");
    let ending = Ending {
        code: 4001,
        reason: "bye".into(),
        clean: true,
        initiator: Initiator::Host,
    };
    instance.on_close(7, &ending).await.expect("on-close");
}

#[tokio::test]
async fn a_guest_that_spins_is_cut_at_its_cpu_time_and_lets_others_run_meanwhile() {
    let mut instance = start(&on_open("(loop (br 0))")).await.expect("it starts");
    let started = Instant::now();
    let mut turns = 0;
    let neighbour = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let fault = tokio::select! {
        result = instance.on_open(7) => result.expect_err("it spins"),
        () = neighbour => unreachable!("it runs for ever"),
    };
    let took = started.elapsed();
    assert_eq!(fault, GuestFault::OutOfCpu.into());
    assert!(took >= Duration::from_millis(45), "{took:?}");
    // Generous: the tests of a whole crate share the machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    // At least one in ten milliseconds, on a machine that others share.
    assert!(turns >= 5, "its neighbour had {turns} turns");
}

#[tokio::test]
async fn wall_time_cuts_a_guest_that_neighbours_keep_from_running() {
    let limits = GuestLimits {
        cpu_per_call: Duration::from_secs(60),
        wall_per_call: Duration::from_millis(50),
        ..limits()
    };
    let program = compile(&on_open("(loop (br 0))"), &limits);
    let mut instance = Instance::start(&program, surroundings())
        .await
        .expect("it starts");
    assert_eq!(instance.on_open(7).await, Err(GuestFault::OutOfTime.into()));
}

#[tokio::test]
async fn a_start_function_that_spins_is_cut_too() {
    let fault = start("(func $spin (loop (br 0))) (start $spin)")
        .await
        .err();
    assert_eq!(fault, Some(GuestFault::OutOfCpu.into()));
}

#[tokio::test]
async fn an_allocator_that_spins_is_cut_too() {
    let spinning = format!(
        r#"(component {TYPES} {} (core module $main
            (import "memory" "memory" (memory 1))
            (import "sessions" "send" (func $send (param i64 i32 i32 i32 i32)))
            {OPEN} {MESSAGES} {CLOSE}) {EXPORTS})"#,
        MEMORY.replace(
            "(local.set $place (i32.and",
            "(loop (br 0)) (local.set $place (i32.and"
        ),
    );
    let bytes = wat::parse_str(spinning).expect("well-formed");
    let program = Program::compile(&engine(), "test", &bytes, &limits(), &Grants::default())
        .expect("as the contract says");
    let mut instance = Instance::start(&Arc::new(program), surroundings())
        .await
        .expect("it starts");
    let message = (7, Message::Text("hi"));
    let fault = instance.deliver([message].into_iter()).await;
    assert_eq!(fault, Err(GuestFault::OutOfCpu.into()));
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_named_when_the_guest_gives_up() {
    let grow = "(if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then (unreachable)))";
    assert_eq!(
        open(&on_open(grow)).await,
        Err(GuestFault::OutOfMemory.into())
    );
    // A guest that bears it goes on.
    assert_eq!(
        open(&on_open("(drop (memory.grow (i32.const 64)))")).await,
        Ok(())
    );
    assert_eq!(
        open(&on_open("(drop (memory.grow (i32.const 8)))")).await,
        Ok(())
    );
    let memory = "(func $grow (drop (memory.grow (i32.const 64))) (unreachable)) (start $grow)";
    assert_eq!(
        start(memory).await.err(),
        Some(GuestFault::OutOfMemory.into())
    );
}

#[tokio::test]
async fn tables_beyond_the_limit_are_refused() {
    let table = format!(
        "(table $t 0 funcref) {}",
        on_open(
            "(if (i32.eq (table.grow $t (ref.null func) (i32.const 100001)) (i32.const -1))
               (then (unreachable)))"
        )
    );
    assert_eq!(open(&table).await, Err(GuestFault::OutOfMemory.into()));
}

#[tokio::test]
async fn a_trap_says_what_and_where() {
    let text = trap_text(
        open(
            "(func $boom (unreachable)) (func $open (export \"on-open\") (param i64) (call $boom))",
        )
        .await
        .expect_err("a trap"),
    );
    assert!(
        text.contains("unreachable") && text.contains("boom"),
        "{text}"
    );
}

#[tokio::test]
async fn deep_recursion_is_a_stack_overflow() {
    let recursion = "(func $deep (export \"on-open\") (param i64) (call $deep (local.get 0)))";
    assert_eq!(open(recursion).await, Err(GuestFault::StackOverflow.into()));
}

#[tokio::test]
#[should_panic(expected = "dropped after a fault")]
async fn an_instance_is_never_entered_after_a_trap() {
    let mut instance = start(&on_open("(unreachable)")).await.expect("it starts");
    let _ = instance.on_open(7).await;
    let _ = instance.on_open(8).await;
}

#[tokio::test]
#[should_panic(expected = "dropped after a fault")]
async fn an_instance_is_never_entered_after_a_dropped_call() {
    let mut instance = start(&on_open("(loop (br 0))")).await.expect("it starts");
    tokio::select! {
        biased;
        _ = instance.on_open(7) => unreachable!("it spins"),
        () = std::future::ready(()) => {}
    }
    let _ = instance.on_open(8).await;
}

#[tokio::test]
async fn dropped_calls_leave_nothing_behind() {
    let limits = GuestLimits {
        cpu_per_call: Duration::from_secs(60),
        ..limits()
    };
    let program = compile(&on_open("(loop (br 0))"), &limits);
    for _ in 0..50 {
        let mut instance = Instance::start(&program, surroundings())
            .await
            .expect("a slot");
        tokio::select! {
            biased;
            _ = instance.on_open(7) => unreachable!("it spins"),
            () = std::future::ready(()) => {}
        }
    }
}

#[tokio::test]
async fn one_instance_too_many_is_an_error_and_not_a_wait() {
    let program = compile("", &limits());
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(
            Instance::start(&program, surroundings())
                .await
                .expect("a slot"),
        );
    }
    let refused = Instance::start(&program, surroundings()).await.err();
    assert_eq!(refused, Some(HostFault::InstancesExhausted.into()));
    instances.pop();
    assert!(Instance::start(&program, surroundings()).await.is_ok());
}

/// The body of `send(7, disc(place, length))`, answer at 64.
fn send(kind: u32, place: u32, length: u32) -> String {
    let (kind, place, length) = (kind as i32, place as i32, length as i32);
    format!(
        "(call $send (i64.const 7) (i32.const {kind}) (i32.const {place}) (i32.const {length})
           (i32.const 64))"
    )
}

#[tokio::test]
async fn two_gibibytes_are_refused_before_any_copy() {
    for kind in [0, 1] {
        let started = Instant::now();
        let fault = open(&on_open(&send(kind, 0, 1 << 31)))
            .await
            .expect_err("out of bounds");
        assert!(trap_text(fault).contains("out of bounds"));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn what_passes_the_hostcall_limit_is_named() {
    let limits = GuestLimits {
        hostcall_bytes_max: 1_000,
        ..limits()
    };
    let program = compile(&on_open(&send(1, 0, 1_001)), &limits);
    let mut instance = Instance::start(&program, surroundings())
        .await
        .expect("it starts");
    let expect = GuestFault::LimitReached("hostcall_bytes_max".to_owned());
    assert_eq!(instance.on_open(7).await, Err(expect.into()));
}

#[tokio::test]
async fn a_number_that_means_no_session_is_answered_as_closed() {
    // The answer at 64: 1 for an error; at 72: which one, 0 for closed.
    let body = format!(
        "{} (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then (unreachable)))
         (if (i32.load8_u (i32.const 72)) (then (unreachable)))
         (call $flush (i64.const 7) (i32.const 64))
         (if (i32.ne (i32.load8_u (i32.const 64)) (i32.const 1)) (then (unreachable)))
         (if (i64.ne (call $count) (i64.const 0)) (then (unreachable)))",
        send(0, 0, 2)
    );
    assert_eq!(open(&on_open(&body)).await, Ok(()));
}

/// The component that was refused, and why.
fn refused(text: &str) -> String {
    let bytes = wat::parse_str(text).expect("well-formed");
    let error = Program::compile(&engine(), "test", &bytes, &limits(), &Grants::default())
        .expect_err("refused");
    error.to_string()
}

#[test]
fn each_import_that_is_not_granted_is_named() {
    let text = r#"(component
            (import "wasi:sockets/tcp@0.2.6" (instance (export "f" (func))))
            (import "wharf:websocket/sessions@0.2.0" (instance))
            (import "wasi:io/poll@0.2.12" (instance))
            (import "acme:vault/keys@1.0.0" (instance))
            (import "print" (func))
            "#
    .to_owned()
        + TYPES;
    let whole = format!("{text} {MEMORY} (core module $main {OPEN} {MESSAGES} {CLOSE}) {EXPORTS})")
        .replace("(with \"memory\" (instance $memory))", "");
    let message = refused(&whole);
    for name in [
        "wasi:sockets/tcp@0.2.6",
        "sessions@0.2.0",
        "acme:vault/keys@1.0.0",
        "print",
    ] {
        assert!(message.contains(name), "{name} in: {message}");
    }
    assert!(!message.contains("wasi:io/poll"), "{message}");
    assert!(message.contains("no sockets"), "{message}");
}

#[test]
fn a_function_that_the_interface_has_not_is_named() {
    let bytes = component("");
    assert!(inspect(&bytes, &limits()).expect("it compiles").would_run());
    let message = refused(
        r#"(component
          (import "wharf:websocket/sessions@0.1.9" (instance (export "teleport" (func))))
          (instance $h) (export "wharf:websocket/handler@0.1.0" (instance $h)))"#,
    );
    assert!(
        message.contains("on-messages") || message.contains("no such function"),
        "{message}"
    );
    let report = inspect(
        &wat::parse_str(
            r#"(component
              (import "wharf:websocket/sessions@0.1.9" (instance (export "teleport" (func)))))"#,
        )
        .expect("well-formed"),
        &limits(),
    )
    .expect("it compiles");
    assert!(
        report.to_string().contains("no function teleport"),
        "{report}"
    );
}

#[test]
fn what_is_no_component_is_told_what_it_is() {
    let check = |bytes: &[u8], expect: &str| {
        let error = Program::compile(&engine(), "test", bytes, &limits(), &Grants::default())
            .expect_err("refused");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(b"\0asm\x01\0\0\0", "wasm-tools component new");
    check(b"(component)", "text");
    check(b"\x7fELF", "no WebAssembly");
    check(b"", "no WebAssembly");
    check(b"\0asm\x0d\0\x01\0\xff", "not valid");
    check(
        b"\0asm\x0d\0\x01\0",
        "does not export wharf:websocket/handler@0.1.0; it exports nothing",
    );
    let limits = GuestLimits {
        component_bytes_max: 7,
        ..limits()
    };
    let error = Program::compile(
        &engine(),
        "test",
        b"\0asm\x0d\0\x01\0",
        &limits,
        &Grants::default(),
    );
    assert_eq!(
        error.err(),
        Some(ProgramError::TooLarge {
            bytes: 8,
            bytes_max: 7
        })
    );
}

#[test]
fn a_handler_of_another_version_is_no_handler() {
    let message = refused(
        r#"(component (instance $h) (export "wharf:websocket/handler@0.2.0" (instance $h)))"#,
    );
    assert!(
        message.contains("it exports wharf:websocket/handler@0.2.0"),
        "{message}"
    );
}

#[test]
fn a_function_of_another_type_is_named() {
    let text = r#"(component
        (core module $m (func (export "f") (param i32)))
        (core instance $i (instantiate $m))
        (func $f (param "session" u32) (canon lift (core func $i "f")))
        (instance $h (export "on-open" (func $f)))
        (export "wharf:websocket/handler@0.1.0" (instance $h)))"#;
    let message = refused(text);
    assert!(message.contains("handler/on-open"), "{message}");
    assert!(
        message.contains("u64") && message.contains("u32"),
        "{message}"
    );
}

#[test]
fn memory_that_is_too_large_from_the_start_is_refused_before_it_starts() {
    let bytes = component("(memory $large 65)");
    let error = Program::compile(&engine(), "test", &bytes, &limits(), &Grants::default()).err();
    let expect = ProgramError::OverLimit {
        limit: "memory_bytes_max",
        needs: 65 << 16,
        max: 4 << 20,
    };
    assert_eq!(error, Some(expect));
}

#[test]
fn proposals_that_nobody_needs_are_off() {
    let check = |functions: &str| {
        let error = Program::compile(
            &engine(),
            "test",
            &component(functions),
            &limits(),
            &Grants::default(),
        );
        assert!(
            matches!(error, Err(ProgramError::Invalid(_))),
            "{functions}: {error:?}"
        );
    };
    check("(memory $shared 1 1 shared)");
    check("(memory $wide i64 1)");
    check("(func (param externref))");
    check("(type $s (struct))");
    check("(tag $t)");
    check("(func $f (return_call $f))");
}

#[test]
fn inspection_names_world_imports_and_exports() {
    let report = inspect(&component(""), &limits()).expect("it compiles");
    assert_eq!(report.world, Some(World::Handler));
    assert!(report.would_run());
    let text = report.to_string();
    for expect in [
        "world    websocket-handler of wharf:websocket@0.1.0",
        "imports  wharf:websocket/types@0.1.0",
        "granted: its own sessions",
        "exports  wharf:websocket/handler@0.1.0",
        "verdict  it would run",
    ] {
        assert!(text.contains(expect), "{expect} in: {text}");
    }
}
