//! Guests in WebAssembly's text form: core modules, described by the world of
//! a plain handler.

use anyhow::Result;

use super::guest::Guest;
use super::{Builder, Built, Workshop};

/// The text form's assembler; it is a library, so there is nothing to find.
pub(super) struct Assembler;

impl Builder for Assembler {
    fn build(&mut self, _workshop: &Workshop, guest: &Guest) -> Result<Built> {
        Ok(Built::Bare(wat::parse_file(&guest.path)?))
    }
}
