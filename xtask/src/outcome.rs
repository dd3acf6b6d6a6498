//! What a step of a task came to, in numbers that its own runner reported.

use std::fmt;

/// Checks that ran, and checks that did not.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// What was not run, and why: said aloud, never counted as passed.
    pub(crate) not_run: Vec<String>,
}

impl Outcome {
    pub(crate) fn of_counts(passed: usize, failed: usize) -> Self {
        Self {
            passed,
            failed,
            not_run: Vec::new(),
        }
    }

    pub(crate) fn not_run(what: impl Into<String>) -> Self {
        Self {
            not_run: vec![what.into()],
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_run.extend(other.not_run);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}
