//! The dead letters of one route, in the order in which they came.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{DeadLetter, LetterFigures};
use crate::id::IncidentId;

/// One route's letters, each with its number, and what was counted of them.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    letters: VecDeque<(u64, Arc<DeadLetter>)>,
    bytes: usize,
    written: u64,
    dropped: u64,
    /// The number of the newest letter that it ever had.
    last_written: u64,
}

impl Shelf {
    pub(super) fn put(&mut self, number: u64, letter: DeadLetter) {
        self.last_written = number;
        self.bytes += letter.bytes();
        self.written += 1;
        self.letters.push_back((number, Arc::new(letter)));
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn last_written(&self) -> u64 {
        self.last_written
    }

    /// The number of its oldest letter.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.letters.front().map(|(number, _)| *number)
    }

    pub(super) fn drop_oldest(&mut self) {
        if let Some((_, letter)) = self.letters.pop_front() {
            self.bytes -= letter.bytes();
            self.dropped += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Arc<DeadLetter>)> {
        let letters = self.letters.iter();
        letters.map(|(number, letter)| (*number, Arc::clone(letter)))
    }

    pub(super) fn find(&self, incident: IncidentId) -> Option<Arc<DeadLetter>> {
        let found = self.letters.iter().find(|one| one.1.incident == incident);
        found.map(|(_, letter)| Arc::clone(letter))
    }

    /// Throws one away; whether it was there.
    pub(super) fn delete(&mut self, incident: IncidentId) -> bool {
        let mut letters = self.letters.iter();
        let Some(place) = letters.position(|(_, letter)| letter.incident == incident) else {
            return false;
        };
        if let Some((_, letter)) = self.letters.remove(place) {
            self.bytes -= letter.bytes();
        }
        true
    }

    /// Throws all away; how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        self.letters.drain(..).count()
    }

    pub(super) fn figures(&self) -> LetterFigures {
        LetterFigures {
            kept: self.letters.len(),
            written: self.written,
            dropped: self.dropped,
        }
    }
}
