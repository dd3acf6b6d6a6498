//! Whether a version is fit to be served, asked before anybody is sent to it.

use crate::Handler;

/// Says whether the handler is well. Optional: implement it beside [`Handler`] and export both with
/// `export!(MyHandler, health)`.
///
/// ```no_run
/// use wharf_guest::{Handler, Health};
///
/// /// `word,word,...`, as somebody edits it.
/// const WORDS: &str = "harbour,quay,crane";
///
/// #[derive(Default)]
/// struct Quiz;
///
/// impl Handler for Quiz {}
///
/// impl Health for Quiz {
///     fn check(&mut self) -> Result<(), String> {
///         match WORDS.split(',').find(|word| word.len() < 3) {
///             Some(short) => Err(format!("the word {short:?} is too short to guess")),
///             None => Ok(()),
///         }
///     }
/// }
///
/// wharf_guest::export!(Quiz, health);
/// # fn main() {}
/// ```
pub trait Health: Handler {
    /// Called once, in the dry run of a deploy: there is no session, no storage and no grant.
    ///
    /// # Errors
    /// Words for whoever deploys: the deploy is refused, and the version before goes on.
    fn check(&mut self) -> Result<(), String>;
}
