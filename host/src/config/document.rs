//! A TOML document as it was written, read one key at a time. Each reader says what would be right;
//! what nobody asked for is an unknown key. All problems are collected, none hides another.
//!
//! Knows TOML and lines, not what the keys mean.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{self, DURATION, SIZE};

/// Characters of a value that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// What is wrong, and at which byte of the document.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) message: String,
}

/// The document and what was found wrong in it so far.
#[derive(Debug)]
pub(super) struct Document<'i> {
    text: &'i str,
    problems: RefCell<Vec<Problem>>,
    files: RefCell<Vec<PathBuf>>,
}

impl<'i> Document<'i> {
    pub(super) fn new(text: &'i str) -> Self {
        Self {
            text,
            problems: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The files that were read for it.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    pub(super) fn problem(&self, at: usize, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            at,
            message: message.into(),
        });
    }

    /// Whether nothing wrong has been found yet.
    pub(super) fn is_sound(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The problems, in the document's order.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.at);
        problems
    }
}

/// The line of a byte, from 1.
pub(super) fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// One table of the document.
pub(super) struct Section<'d, 'i> {
    document: &'d Document<'i>,
    /// As the document writes it: `[route.websocket]`; nothing at the top.
    name: &'static str,
    at: usize,
    table: &'d DeTable<'i>,
    known: RefCell<Vec<&'static str>>,
}

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

impl<'d, 'i> Section<'d, 'i> {
    pub(super) fn new(
        document: &'d Document<'i>,
        name: &'static str,
        at: usize,
        table: &'d DeTable<'i>,
    ) -> Self {
        Self {
            document,
            name,
            at,
            table,
            known: RefCell::default(),
        }
    }

    /// The line in which it begins, from 1.
    pub(super) fn line(&self) -> usize {
        line(self.document.text, self.at)
    }

    /// The value of a key, which is known from now on.
    fn value(&self, key: &'static str) -> Option<&'d Value<'i>> {
        self.known.borrow_mut().push(key);
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    /// Notes that a file is read for the document.
    pub(super) fn note_file(&self, file: &Path) {
        self.document.files.borrow_mut().push(file.to_owned());
    }

    /// A value that is not what it should be.
    fn wrong(&self, key: &str, span: Range<usize>, right: impl Display) {
        let shown = shown(self.document.text.get(span.clone()).unwrap_or_default());
        self.document.problem(
            span.start,
            format!("{}{key} = {shown}: {right}", self.prefix()),
        );
    }

    fn prefix(&self) -> String {
        if self.name.is_empty() {
            String::new()
        } else {
            format!("{} ", self.name)
        }
    }

    /// Says that the value of a key cannot be used.
    pub(super) fn refuse(&self, key: &'static str, why: impl Display) {
        match self.value(key) {
            Some(value) => self.wrong(key, value.span(), why),
            None => self
                .document
                .problem(self.at, format!("{}{key}: {why}", self.prefix())),
        }
    }

    /// Says that a key has to be there.
    pub(super) fn missing(&self, key: &'static str, right: &str) {
        self.document.problem(
            self.at,
            format!("{}{key} is missing: {right}", self.prefix()),
        );
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn text(&self, key: &'static str, right: &str) -> Option<String> {
        let value = self.value(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(key, value.span(), right);
        }
        text.map(str::to_owned)
    }

    /// One text or a list of them.
    pub(super) fn texts(&self, key: &'static str, right: &str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![text.to_owned()]);
        }
        let list = value.get_ref().as_array();
        let texts = list.and_then(|list| {
            list.iter()
                .map(|value| value.get_ref().as_str().map(str::to_owned))
                .collect()
        });
        if texts.is_none() {
            self.wrong(key, value.span(), right);
        }
        texts
    }

    /// As [`Section::texts`]; `true` is `*`, for all of them, and `false` none.
    pub(super) fn texts_or_all(&self, key: &'static str, right: &str) -> Option<Vec<String>> {
        match self.value(key)?.get_ref().as_bool() {
            Some(true) => Some(vec!["*".to_owned()]),
            Some(false) => Some(Vec::new()),
            None => self.texts(key, right),
        }
    }

    pub(super) fn flag(&self, key: &'static str, into: &mut bool) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref().as_bool() {
            Some(flag) => *into = flag,
            None => self.wrong(key, value.span(), "right is true or false"),
        }
    }

    /// A number between two others, both included.
    pub(super) fn count<N: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut N,
    ) {
        let Some(value) = self.value(key) else { return };
        let number = integer(value.get_ref()).filter(|number| range.contains(number));
        match number.and_then(|number| N::try_from(number).ok()) {
            Some(number) => *into = number,
            None => {
                let right = format!(
                    "right is a number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.wrong(key, value.span(), right);
            }
        }
    }

    /// As [`Section::count`], of what may be left out.
    pub(super) fn some_count(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<u64>,
    ) {
        let mut number = *range.start();
        self.count(key, range, &mut number);
        *into = self.has(key).then_some(number);
    }

    /// As [`Section::size`], of what may be left out.
    pub(super) fn some_size(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<u64>,
    ) {
        let mut bytes = *range.start();
        self.size(key, range, &mut bytes);
        *into = self.has(key).then_some(bytes);
    }

    /// A number of bytes between two others, both included.
    pub(super) fn size<N: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut N,
    ) {
        let Some(value) = self.value(key) else { return };
        let read = integer(value.get_ref()).or_else(|| value::size(value.get_ref().as_str()?));
        match read {
            None => self.wrong(key, value.span(), format_args!("right is {SIZE}")),
            Some(bytes) if !range.contains(&bytes) => {
                let (from, to) = (
                    value::show_size(*range.start()),
                    value::show_size(*range.end()),
                );
                self.wrong(
                    key,
                    value.span(),
                    format_args!("right is from {from} to {to}"),
                );
            }
            Some(bytes) => match N::try_from(bytes) {
                Ok(bytes) => *into = bytes,
                Err(_) => self.wrong(key, value.span(), "too large for this machine"),
            },
        }
    }

    /// A duration of at least a millisecond.
    pub(super) fn duration(&self, key: &'static str, into: &mut Duration) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref().as_str().and_then(value::duration) {
            Some(duration) => self.checked(key, value, duration, |duration| *into = duration),
            None => self.wrong(key, value.span(), format_args!("right is {DURATION}")),
        }
    }

    /// A date, with or without a time of day; in UTC unless it says otherwise.
    pub(super) fn date(&self, key: &'static str, right: &str) -> Option<SystemTime> {
        let value = self.value(key)?;
        let date = value.get_ref().as_datetime().and_then(value::date);
        if date.is_none() {
            self.wrong(key, value.span(), right);
        }
        date
    }

    /// A duration, or `"off"`.
    pub(super) fn duration_or_off(&self, key: &'static str, into: &mut Option<Duration>) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref().as_str() {
            Some("off") => *into = None,
            text => match text.and_then(value::duration) {
                Some(duration) => {
                    self.checked(key, value, duration, |duration| *into = Some(duration))
                }
                None => self.wrong(
                    key,
                    value.span(),
                    format_args!("right is {DURATION}, or \"off\""),
                ),
            },
        }
    }

    fn checked(
        &self,
        key: &str,
        value: &Value<'i>,
        duration: Duration,
        set: impl FnOnce(Duration),
    ) {
        /// Longer waits are mistakes; this keeps every sum of times far from overflow.
        const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
        if duration.is_zero() || duration > DURATION_MAX {
            let max = value::show_duration(DURATION_MAX);
            self.wrong(
                key,
                value.span(),
                format_args!("right is from 1ms to {max}"),
            );
        } else {
            set(duration);
        }
    }

    /// All that is there, for tables whose keys are the operator's own.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'d str, &'d Value<'i>)> {
        let entries = self.table.iter();
        entries.map(|(key, value)| (key.get_ref().as_ref(), value))
    }

    /// Says that a value of such a table cannot be used, without showing it.
    pub(super) fn refuse_hidden(&self, key: &str, value: &Value<'i>, why: impl Display) {
        let message = format!("{}{}: {why}", self.prefix(), shown(key));
        self.document.problem(value.span().start, message);
    }

    /// A table that is the value of such a key.
    pub(super) fn inner(
        &self,
        name: &'static str,
        value: &'d Value<'i>,
    ) -> Option<Section<'d, 'i>> {
        let table = value.get_ref().as_table()?;
        Some(Section::new(self.document, name, value.span().start, table))
    }

    /// A table under this one.
    pub(super) fn section(&self, key: &'static str, name: &'static str) -> Option<Section<'d, 'i>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(
                key,
                value.span(),
                format_args!("right is a table, written {name}"),
            );
            return None;
        };
        Some(Section::new(self.document, name, value.span().start, table))
    }

    /// Whether a key is there with a table.
    pub(super) fn is_table(&self, key: &'static str) -> bool {
        let value = self.value(key);
        value.is_some_and(|value| value.get_ref().as_table().is_some())
    }

    /// Whether a key is there with a list.
    pub(super) fn is_list(&self, key: &'static str) -> bool {
        let value = self.value(key);
        value.is_some_and(|value| value.get_ref().as_array().is_some())
    }

    /// The tables of a list, such as each `[[route]]`.
    pub(super) fn sections(&self, key: &'static str, name: &'static str) -> Vec<Section<'d, 'i>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(
                key,
                value.span(),
                format_args!("right is a list of tables, each written {name}"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for value in list.iter() {
            match value.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(self.document, name, value.span().start, table));
                }
                None => self.wrong(
                    key,
                    value.span(),
                    format_args!("right is a table, written {name}"),
                ),
            }
        }
        sections
    }

    /// Says which keys nobody asked for.
    pub(super) fn finish(self) {
        let mut known = self.known.into_inner();
        known.sort_unstable();
        known.dedup();
        let place = if self.name.is_empty() {
            "the top of the file"
        } else {
            self.name
        };
        for (key, _) in self
            .table
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
        {
            let name = shown(key.get_ref());
            let help = match value::nearest(&name, &known) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here are {}", known.join(", ")),
            };
            self.document.problem(
                key.span().start,
                format!("{place} has no key {name}: {help}"),
            );
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The first line of a text, cut to a length that a message can bear.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
