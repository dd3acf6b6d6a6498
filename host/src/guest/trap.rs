//! From what wasmtime reports to what is to blame: the one place that reads its errors.
//!
//! Texts of a guest (function names) are cut and cleaned before they go into a log.

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::call::Overrun;
use crate::fault::{Fault, GuestFault, HostFault};

/// A guest's name in a message, in characters.
const NAME_CHARS_MAX: usize = 120;

/// Says what ended a call or a start. `growth_refused`: the guest had asked for more memory or a
/// larger table than it may have.
pub(super) fn classify(error: &wasmtime::Error, growth_refused: bool) -> Fault {
    if let Some(overrun) = error.downcast_ref::<Overrun>() {
        return match overrun {
            Overrun::Cpu => GuestFault::OutOfCpu.into(),
            Overrun::Wall => GuestFault::OutOfTime.into(),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() || is_out_of_mappings(error) {
        return HostFault::InstancesExhausted.into();
    }
    if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
        return GuestFault::StackOverflow.into();
    }
    // Whatever it then does, aborts or jumps at a null pointer: it wanted memory.
    if growth_refused {
        return GuestFault::OutOfMemory.into();
    }
    if let Some(limit) = limit(error) {
        return GuestFault::LimitReached(limit.to_owned()).into();
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return GuestFault::Trap(format!("the handler called exit({status})")).into();
    }
    GuestFault::Trap(describe(error)).into()
}

/// Whether the system refused a mapping: the process has as many as `vm.max_map_count` lets it.
fn is_out_of_mappings(error: &wasmtime::Error) -> bool {
    const ENOMEM: &str = "(os error 12)";
    error.root_cause().to_string().ends_with(ENOMEM)
}

/// The limit that a host call met, by the name of its setting.
fn limit(error: &wasmtime::Error) -> Option<&'static str> {
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Some("handles_max");
    }
    // These two have no public type in wasmtime 48.
    let cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls has been exhausted") {
        return Some("hostcall_bytes_max");
    }
    cause
        .contains("store handle limit exceeded")
        .then_some("handles_max")
}

/// The cause and the innermost function that has a name.
fn describe(error: &wasmtime::Error) -> String {
    let cause = clean(&error.root_cause().to_string());
    let function = error.downcast_ref::<WasmBacktrace>().and_then(|backtrace| {
        backtrace
            .frames()
            .iter()
            .find_map(|frame| frame.func_name())
    });
    match function {
        Some(function) => format!("{cause}, in {}", clean(function)),
        None => cause,
    }
}

fn clean(text: &str) -> String {
    let visible = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars().take(NAME_CHARS_MAX).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_fault() {
        let check = |error: wasmtime::Error, refused, expect: Fault| {
            assert_eq!(classify(&error, refused), expect);
        };
        check(Overrun::Cpu.into(), false, GuestFault::OutOfCpu.into());
        check(Overrun::Wall.into(), true, GuestFault::OutOfTime.into());
        check(
            Trap::StackOverflow.into(),
            true,
            GuestFault::StackOverflow.into(),
        );
        check(
            Trap::UnreachableCodeReached.into(),
            true,
            GuestFault::OutOfMemory.into(),
        );
        check(
            ResourceTableError::Full.into(),
            false,
            GuestFault::LimitReached("handles_max".to_owned()).into(),
        );
        check(
            I32Exit(3).into(),
            false,
            GuestFault::Trap("the handler called exit(3)".to_owned()).into(),
        );
        check(
            Trap::IntegerDivisionByZero.into(),
            false,
            GuestFault::Trap("wasm trap: integer divide by zero".to_owned()).into(),
        );
    }

    #[test]
    fn a_guests_text_cannot_fill_or_break_the_log() {
        let text = clean(&format!("\n\x1b[2J{}", "x".repeat(100_000)));
        assert_eq!(text.chars().count(), NAME_CHARS_MAX);
        assert!(text.starts_with("  [2Jx"));
    }
}
