//! Guests that use WASI: what it gives, and what it takes to run out of it.

use super::*;

/// Starts a component with some of WASI and opens a session. `core` gives the module its
/// functions from `imports`; `functions` begins with their imports.
async fn open_with(imports: &str, core: &str, functions: &str) -> Result<(), Fault> {
    let bytes = component_that_imports(imports, core, functions);
    let limits = GuestLimits {
        wall_per_call: Duration::from_millis(200),
        ..limits()
    };
    let program = Program::compile(&engine(), "test", &bytes, &limits, &Grants::default())
        .expect("it is granted");
    Instance::start(&Arc::new(program), surroundings())
        .await?
        .on_open(7)
        .await
}

#[tokio::test]
async fn exit_is_a_trap_that_says_so() {
    let fault = open_with(
        r#"(import "wasi:cli/exit@0.2.3" (instance $exits
             (export "exit" (func (param "status" (result))))))
           (core func $exit (canon lower (func $exits "exit")))"#,
        r#"(with "more" (instance (export "exit" (func $exit))))"#,
        r#"(import "more" "exit" (func $exit (param i32)))
           (func (export "on-open") (param i64) (call $exit (i32.const 1)))"#,
    )
    .await
    .expect_err("it exits");
    assert_eq!(trap_text(fault), "the handler called exit(1)");
}

const CLOCK: &str = r#"
  (import "wasi:io/poll@0.2.6" (instance $polls
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $polls "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (core func $block (canon lower (func $polls "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))"#;

const CLOCK_CORE: &str = r#"(with "more" (instance
    (export "block" (func $block)) (export "subscribe" (func $subscribe))))"#;

const CLOCK_IMPORTS: &str = r#"
  (import "more" "block" (func $block (param i32)))
  (import "more" "subscribe" (func $subscribe (param i64) (result i32)))"#;

#[tokio::test]
async fn a_guest_that_sleeps_for_ever_is_cut_at_its_wall_time() {
    let sleep = "(call $block (call $subscribe (i64.const 3600000000000)))";
    let functions = format!("{CLOCK_IMPORTS} {}", on_open(sleep));
    let started = Instant::now();
    let outcome = open_with(CLOCK, CLOCK_CORE, &functions).await;
    assert_eq!(outcome, Err(GuestFault::OutOfTime.into()));
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_guest_that_sleeps_for_a_moment_goes_on() {
    let sleep = "(call $block (call $subscribe (i64.const 2000000)))";
    let functions = format!("{CLOCK_IMPORTS} {}", on_open(sleep));
    assert_eq!(open_with(CLOCK, CLOCK_CORE, &functions).await, Ok(()));
}

#[tokio::test]
async fn handles_without_end_meet_their_limit() {
    let hoard = "(loop (drop (call $subscribe (i64.const 1))) (br 0))";
    let functions = format!("{CLOCK_IMPORTS} {}", on_open(hoard));
    let outcome = open_with(CLOCK, CLOCK_CORE, &functions).await;
    assert_eq!(
        outcome,
        Err(GuestFault::LimitReached("handles_max".to_owned()).into())
    );
}

#[tokio::test]
async fn randomness_comes_in_pieces_that_are_bounded() {
    let imports = r#"
      (import "wasi:random/random@0.2.0" (instance $random
        (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
      (core func $bytes (canon lower (func $random "get-random-bytes") (memory $memory)
        (realloc (core func $memory "realloc"))))"#;
    let core = r#"(with "more" (instance (export "bytes" (func $bytes))))"#;
    let take = |count: u64| {
        format!(
            r#"(import "more" "bytes" (func $bytes (param i64 i32)))
               (func (export "on-open") (param i64)
                 (call $bytes (i64.const {count}) (i32.const 64)))"#
        )
    };
    assert_eq!(open_with(imports, core, &take(16)).await, Ok(()));
    assert!(open_with(imports, core, &take(1 << 32)).await.is_err());
}
