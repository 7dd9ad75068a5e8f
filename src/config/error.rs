//! What is wrong in the configuration, and where: `file:line:column: message`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error as ThisError;

/// One mistake in one file.
///
/// Printed as `config/tenants/acme.toml:4:10: message`, where the message says what to write instead. The order is that
/// of reading: file, line, column.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, ThisError)]
#[error("{}:{line}:{column}: {message}", path.display())]
pub struct Error {
    /// The file, below the configuration directory as the caller named it.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What is wrong and what to write instead; never the value of a secret.
    pub message: String,
}

impl Error {
    /// A mistake of a file as a whole, such as that it cannot be read: it stands at the file's first character.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: 1,
            column: 1,
            message: message.into(),
        }
    }
}

/// All mistakes that were found, in reading order. `Display` prints one per line, with no final newline.
#[derive(Clone, Debug, Default, Eq, PartialEq, ThisError)]
pub struct Errors(Box<[Error]>);

impl Errors {
    /// The mistakes in reading order.
    #[must_use]
    pub fn as_slice(&self) -> &[Error] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl FromIterator<Error> for Errors {
    fn from_iter<I: IntoIterator<Item = Error>>(errors: I) -> Self {
        let mut errors: Vec<Error> = errors.into_iter().collect();
        errors.sort();
        errors.dedup();
        Self(errors.into())
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The text of one file, which turns byte offsets into positions.
pub(super) struct Source {
    pub(super) path: Arc<Path>,
    pub(super) text: String,
    /// Whether everybody on this machine may read the file, so that no secret may stand in it.
    pub(super) world_readable: bool,
    /// Where each line begins, found once: a position is then a binary search, however long the file is.
    line_starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(path: Arc<Path>, text: String, world_readable: bool) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self {
            path,
            text,
            world_readable,
            line_starts,
        }
    }

    /// Line and column of a byte of the text, both from 1, the column in characters. A byte past the end counts as
    /// the end, one inside a character as that character.
    pub(super) fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[line - 1];
        let before = &self.text.as_bytes()[start..offset.clamp(start, self.text.len())];
        // A byte order mark is no column: no editor shows it.
        let before = before.strip_prefix("\u{feff}".as_bytes()).unwrap_or(before);
        // The bytes 0b10xx_xxxx continue a character of UTF-8, all others begin one.
        let column = 1 + before.iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count();
        (
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(column).unwrap_or(u32::MAX),
        )
    }

    pub(super) fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        let (line, column) = self.position(offset);
        Error {
            path: self.path.to_path_buf(),
            line,
            column,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, needle: &str, expected: (u32, u32)) {
        let source = Source::new(Path::new("x.toml").into(), text.to_owned(), false);
        let offset = text.find(needle).expect("the needle is in the text");
        assert_eq!(source.position(offset), expected, "{needle:?} in {text:?}");
    }

    #[test]
    fn positions_count_characters_from_1() {
        check("a = 1", "a", (1, 1));
        check("a = 1", "1", (1, 5));
        check("# é\nb = 2\n", "b", (2, 1));
        check("a = \"日本\" # x", "x", (1, 12));
        check("\u{feff}a = 1", "1", (1, 5));
        check("a = 1\r\nb = 2\r\n", "2", (2, 5));
        check("a = 1\n\n\nb = 2", "2", (4, 5));
    }

    #[test]
    fn the_end_of_the_text_has_a_position() {
        let source = Source::new(Path::new("x.toml").into(), "a\nbc".to_owned(), false);
        assert_eq!(source.position(4), (2, 3));
        assert_eq!(source.position(99), (2, 3));
        let empty = Source::new(Path::new("x.toml").into(), String::new(), false);
        assert_eq!(empty.position(0), (1, 1));
    }

    #[test]
    fn errors_are_sorted_and_printed_one_per_line() {
        let source = Source::new(Path::new("x.toml").into(), "a\nb\n".to_owned(), false);
        let errors: Errors = [source.error(2, "second"), source.error(0, "first")]
            .into_iter()
            .collect();
        assert_eq!(errors.to_string(), "x.toml:1:1: first\nx.toml:2:1: second");
    }
}
