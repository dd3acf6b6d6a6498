//! Which world a component is: by its exports, never by what its file happens to contain.

use super::*;

const BOTH: &str = r#"(component (instance $h)
    (export "wharf:websocket/handler@0.1.0" (instance $h))
    (export "wharf:websocket/conversation-handler@0.1.0" (instance $h)))"#;

#[test]
fn a_component_is_a_handler_or_a_conversation() {
    let message = refused(BOTH);
    assert!(message.contains("one or the other"), "{message}");
}

#[test]
fn a_conversation_needs_its_function_and_an_async_one() {
    let empty = r#"(component (instance $h)
        (export "wharf:websocket/conversation-handler@0.1.0" (instance $h)))"#;
    let message = refused(empty);
    assert!(
        message.contains("conversation-handler/converse") && message.contains("no such function"),
        "{message}"
    );
    let plain = r#"(component
        (core module $m (func (export "f") (param i64)))
        (core instance $i (instantiate $m))
        (func $f (param "session" u64) (canon lift (core func $i "f")))
        (instance $h (export "converse" (func $f)))
        (export "wharf:websocket/conversation-handler@0.1.0" (instance $h)))"#;
    let message = refused(plain);
    assert!(message.contains("no async function"), "{message}");
}

#[test]
fn only_conversations_may_wait_as_one() {
    let imports = r#"(import "wharf:websocket/conversation@0.1.0" (instance
        (export "ended" (func (param "session" u64)))))"#;
    let bytes = component_that_imports(imports, "(with \"more\" (instance))", "");
    let error = Program::compile(&engine(), "test", &bytes, &limits(), &Grants::default());
    assert_eq!(error.err(), Some(ProgramError::NoConversation));
}

#[test]
fn a_handler_that_contains_the_name_stays_a_handler() {
    let name = r#"(memory (export "m") 1) (data (i32.const 0) "wharf:websocket/conversation")"#;
    let report = inspect(&component(name), &limits()).expect("it compiles");
    assert_eq!(report.world, Some(World::Handler));
    assert!(report.would_run());
}
