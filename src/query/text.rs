//! What is read of a parameter, piece by piece: names, JSON paths, quoted texts and lists.

use std::borrow::Cow;

use super::Error;
use super::shape::{Field, Path, Step};

/// A name as it was written, or without its quotes.
pub(super) type Name<'t> = Cow<'t, str>;

/// Reads all of `text`; what is left over was not understood.
pub(super) fn whole<'t, T>(
    part: &'static str,
    text: &'t str,
    read: impl FnOnce(&mut Text<'t>) -> Result<T, Unread>,
) -> Result<T, Error> {
    let mut rest = Text(text);
    match read(&mut rest) {
        Ok(value) if rest.0.is_empty() => Ok(value),
        Ok(_) => Err(syntax(part, text, rest.read_of(text), rest.unexpected())),
        Err(details) => Err(syntax(part, text, rest.read_of(text), details)),
    }
}

/// What is wrong with `text` behind `read` characters.
pub(super) fn syntax(part: &'static str, text: &str, read: usize, details: impl Into<Cow<'static, str>>) -> Error {
    Error::Syntax {
        part,
        text: text.to_owned(),
        column: read + 1,
        details: details.into(),
    }
}

/// What a name begins with, as PostgREST calls it.
pub(super) const NAME: &str = "field name (* or [a..z0..9_$])";

/// What was not understood.
pub(super) type Unread = Cow<'static, str>;

/// What is still to be read of a parameter.
#[derive(Clone, Copy)]
pub(super) struct Text<'t>(pub(super) &'t str);

impl<'t> Text<'t> {
    pub(super) fn eat(&mut self, token: &str) -> bool {
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// What was taken since `before` was still to be read.
    pub(super) fn until(&self, before: &'t str) -> &'t str {
        &before[..before.len() - self.0.len()]
    }

    pub(super) fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Takes what stands before the first character that fails `allowed`.
    pub(super) fn take(&mut self, allowed: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|c| !allowed(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// How many characters of `text`, of which this is the end, were read.
    pub(super) fn read_of(&self, text: &str) -> usize {
        text.chars().count() - self.0.chars().count()
    }

    /// What stands here, which should not.
    pub(super) fn unexpected(&self) -> Unread {
        match self.0.chars().next() {
            None => "unexpected end of input".into(),
            Some(c) => format!("unexpected {:?}", c.to_string()).into(),
        }
    }

    /// What stands here, and what should.
    pub(super) fn expecting(&self, what: &str) -> Unread {
        format!("{} expecting {what}", self.unexpected()).into()
    }

    /// A column name: letters, digits, `_`, `$`, `-` and inner spaces, or anything in double quotes.
    pub(super) fn name(&mut self) -> Result<Name<'t>, Unread> {
        self.spaces();
        if self.0.starts_with('"') {
            let name = self.quoted().ok_or("a quoted name does not end")?;
            self.spaces();
            return Ok(name);
        }
        let rest = self.0;
        // Most names end within ASCII, which is looked at byte by byte.
        let ascii = rest
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b' ')))
            .unwrap_or(rest.len());
        let end = rest[ascii..]
            .char_indices()
            .find(|&(at, c)| match c {
                '-' => rest[ascii + at..].starts_with("->"),
                _ => !(c.is_alphanumeric() || matches!(c, '_' | '$' | ' ')),
            })
            .map_or(rest.len(), |(at, _)| ascii + at);
        let (name, after) = rest.split_at(end);
        let name = name.trim();
        if name.is_empty() {
            return Err(self.expecting(NAME));
        }
        self.0 = after;
        Ok(Cow::Borrowed(name))
    }

    /// A text in double quotes, where a backslash makes the next character stand for itself. Takes nothing on `None`.
    pub(super) fn quoted(&mut self) -> Option<Name<'t>> {
        let inside = self.0.strip_prefix('"')?;
        let end = inside.find(['"', '\\'])?;
        if let Some(rest) = inside[end..].strip_prefix('"') {
            self.0 = rest;
            return Some(Cow::Borrowed(&inside[..end]));
        }
        let mut text = String::new();
        let mut rest = inside.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => text.push(rest.next()?),
                c => text.push(c),
            }
        }
        self.0 = rest.as_str();
        Some(Cow::Owned(text))
    }

    /// `clients.projects.name->a`: embedded relations, and a field of the last.
    pub(super) fn path(&mut self) -> Result<(Path<'t>, Field<'t>), Unread> {
        let mut path = Path::new();
        loop {
            let name = self.name()?;
            if self.eat(".") {
                path.push(name);
                continue;
            }
            let steps = self.steps()?;
            return Ok((path, Field { name, path: steps }));
        }
    }

    pub(super) fn field(&mut self) -> Result<Field<'t>, Unread> {
        let name = self.name()?;
        let path = self.steps()?;
        self.spaces();
        Ok(Field { name, path })
    }

    pub(super) fn steps(&mut self) -> Result<Vec<Step<'t>>, Unread> {
        let mut steps = Vec::new();
        while self.eat("->") {
            let text = self.eat(">");
            let mut attempt = *self;
            let before = self.0;
            attempt.eat("-");
            let digits = attempt.take(|c| c.is_ascii_digit());
            let ends = ["->", "::", ".", ",", ")"].iter().any(|end| attempt.0.starts_with(end));
            if !digits.is_empty() && (ends || attempt.0.is_empty()) {
                *self = attempt;
                steps.push(Step {
                    text,
                    operand: Cow::Borrowed(self.until(before)),
                    index: true,
                });
                continue;
            }
            let operand = self.key()?;
            steps.push(Step {
                text,
                operand,
                index: false,
            });
        }
        Ok(steps)
    }

    /// A key of a JSON object: anything in double quotes, or what holds none of `(:.,>)`, and `-` only before others.
    fn key(&mut self) -> Result<Name<'t>, Unread> {
        if self.0.starts_with('"') {
            return self.quoted().ok_or_else(|| "a quoted key does not end".into());
        }
        let rest = self.0;
        let end = rest
            .char_indices()
            .find(|&(at, c)| match c {
                '-' => rest[at..].starts_with("->"),
                _ => matches!(c, '(' | ':' | '.' | ',' | '>' | ')'),
            })
            .map_or(rest.len(), |(at, _)| at);
        let (key, after) = rest.split_at(end);
        let key = key.trim();
        if key.split('-').any(str::is_empty) {
            // What begins with a minus might have been a number.
            return Err(if self.eat("-") {
                self.expecting("digit")
            } else {
                self.unexpected()
            });
        }
        self.0 = after;
        Ok(Cow::Borrowed(key))
    }

    pub(super) fn separated<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Unread>) -> Result<Vec<T>, Unread> {
        let mut items = vec![one(self)?];
        while self.eat(",") {
            items.push(one(self)?);
        }
        Ok(items)
    }

    /// `(a,"b,c")`: gives each to `item`. Outside double quotes everything up to the next `,` or `)` counts, quotes and
    /// backslashes too.
    pub(super) fn list(&mut self, mut item: impl FnMut(&str)) -> Result<(), Unread> {
        self.spaces();
        if !self.eat("(") {
            return Err("a list in parentheses must follow in".into());
        }
        self.spaces();
        if self.eat(")") {
            return Ok(());
        }
        loop {
            item(&self.list_item());
            if self.eat(")") {
                return Ok(());
            }
            if !self.eat(",") {
                return Err("the list does not end".into());
            }
        }
    }

    fn list_item(&mut self) -> Name<'t> {
        let mut attempt = *self;
        attempt.spaces();
        if let Some(item) = attempt.quoted() {
            attempt.spaces();
            if attempt.0.starts_with([',', ')']) {
                *self = attempt;
                return item;
            }
        }
        Cow::Borrowed(self.take(|c| !matches!(c, ',' | ')')))
    }
}
