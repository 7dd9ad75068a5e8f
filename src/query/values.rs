//! The values of a request.

use smallvec::SmallVec;

/// Texts in Postgres' input format, one behind the other in one allocation. Not `Debug`: they are never logged.
#[derive(Clone, Default)]
pub(super) struct Values {
    text: String,
    /// Where each ends.
    ends: SmallVec<[usize; 16]>,
}

/// Which of the [`Values`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Value(pub(super) usize);

impl Values {
    /// None yet, with room for `capacity` bytes of them.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            text: String::with_capacity(capacity),
            ends: SmallVec::new(),
        }
    }

    pub(super) fn get(&self, value: Value) -> Option<&str> {
        let end = *self.ends.get(value.0)?;
        let start = value.0.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start..end)
    }

    pub(super) fn push(&mut self, value: &str) -> Value {
        self.text.push_str(value);
        self.end()
    }

    pub(super) fn push_number(&mut self, number: u64) -> Value {
        self.text.push_str(itoa::Buffer::new().format(number));
        self.end()
    }

    /// A pattern, in which `*` stands for `%`.
    pub(super) fn push_pattern(&mut self, pattern: &str) -> Value {
        for (at, part) in pattern.split('*').enumerate() {
            self.text.push_str(if at == 0 { "" } else { "%" });
            self.text.push_str(part);
        }
        self.end()
    }

    /// Begins an array literal (manual, 8.15.6). Every element is quoted, so an empty one and `NULL` are texts like any
    /// other.
    pub(super) fn begin_array(&mut self) {
        self.text.push('{');
    }

    pub(super) fn push_element(&mut self, element: &str) {
        self.text.push_str(if self.text.ends_with('{') { "\"" } else { ",\"" });
        for part in element.split_inclusive(['"', '\\']) {
            match part.strip_suffix(['"', '\\']) {
                Some(plain) => {
                    self.text.push_str(plain);
                    self.text.push('\\');
                    self.text.push_str(&part[plain.len()..]);
                }
                None => self.text.push_str(part),
            }
        }
        self.text.push('"');
    }

    pub(super) fn end_array(&mut self) -> Value {
        self.text.push('}');
        self.end()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all but the first `len`, and what was begun.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn end(&mut self) -> Value {
        self.ends.push(self.text.len());
        Value(self.ends.len() - 1)
    }
}

/// An array literal of these texts.
#[must_use]
pub fn array<S: AsRef<str>>(elements: &[S]) -> String {
    let mut values = Values::default();
    values.begin_array();
    for element in elements {
        values.push_element(element.as_ref());
    }
    values.end_array();
    values.text
}
