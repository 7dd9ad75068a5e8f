//! Reads every key on its own, so that one mistake hides no other.
//!
//! Serde gives up at the first value it cannot read. A [`Field`] keeps the mistake and its place instead, and lets the
//! rest be read. The types in [`super::file`] thereby stay plain serde structs, from which the JSON Schema comes too.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::error::{Error, Source};
use super::value::{Mistake, Raw, Scalar};

/// What stands after a key, if the key stands there at all.
pub(super) struct Field<T>(Option<Written<T>>);

struct Written<T> {
    offset: usize,
    value: Result<T, String>,
}

impl<T> Field<T> {
    /// Where the value stands, in bytes from the start of the file; `None` if the key is absent.
    pub(super) fn offset(&self) -> Option<usize> {
        self.0.as_ref().map(|written| written.offset)
    }

    /// The value. `None` if the key is absent, or if its value was reported just now.
    pub(super) fn get(self, report: &mut Report<'_>) -> Option<T> {
        let Written { offset, value } = self.0?;
        value.map_err(|message| report.error(offset, message)).ok()
    }

    /// The value, or `default` if there is none. A file with a reported mistake is not used, so a stand-in does no harm.
    pub(super) fn or(self, default: T, report: &mut Report<'_>) -> T {
        self.get(report).unwrap_or(default)
    }
}

impl<T: Value> Field<List<T>> {
    /// The readable elements with their offsets; none if the key is absent.
    pub(super) fn elements(self, report: &mut Report<'_>) -> Vec<(T, usize)> {
        let elements = self.get(report).map_or_else(Vec::new, |list| list.0);
        let readable = elements.into_iter().filter_map(|element| {
            let offset = element.offset()?;
            Some((element.get(report)?, offset))
        });
        readable.collect()
    }

    /// The readable elements; none if the key is absent.
    pub(super) fn values<C: FromIterator<T>>(self, report: &mut Report<'_>) -> C {
        self.elements(report).into_iter().map(|(value, _)| value).collect()
    }
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Value> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attempt<T>(Result<T, String>);

        impl<'de, T: Value> Deserialize<'de> for Attempt<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self(T::read(deserializer)))
            }
        }

        let spanned = Spanned::<Attempt<T>>::deserialize(deserializer)?;
        Ok(Self(Some(Written {
            offset: spanned.span().start,
            value: spanned.into_inner().0,
        })))
    }
}

impl<T: Value> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        // Never shown, because the schema is always written in place.
        std::any::type_name::<T>().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// What may stand after a key.
pub(super) trait Value: Sized {
    /// Reads it, or says what is wrong with it and what to write instead.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, String>;

    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<T: Scalar> Value for T {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, String> {
        let result = deserializer.deserialize_any(ScalarVisitor(PhantomData));
        // The parser itself refuses numbers that no integer type can hold.
        let result = result.unwrap_or_else(|error| Err(Mistake(error.to_string())));
        result.map_err(|Mistake(message)| format!("{message}: write {}", T::WRITE))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for ScalarVisitor<T> {
    type Value = Result<T, Mistake>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WRITE)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Text(text)))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Number(number.into())))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Number(number)))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Number(i128::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(T::from_raw(&Raw::Other("a number with a fraction")))
    }

    fn visit_seq<A>(self, _: A) -> Result<Self::Value, A::Error>
    where
        A: SeqAccess<'de>,
    {
        Ok(T::from_raw(&Raw::Other("a list")))
    }

    /// Tables, and also dates, which the parser presents as tables.
    fn visit_map<A>(self, _: A) -> Result<Self::Value, A::Error>
    where
        A: MapAccess<'de>,
    {
        Ok(T::from_raw(&Raw::Other("a table or date")))
    }
}

/// `[a, b]`: each element with its own place and mistake.
pub(super) struct List<T>(Vec<Field<T>>);

impl<T: Value> Value for List<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, String> {
        let fields = Vec::deserialize(deserializer);
        fields
            .map(Self)
            .map_err(|_| "expected a list: write it in square brackets, such as [\"a\", \"b\"]".into())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }
}

/// `[kind.ID]` tables by their ids, in the order of the file.
pub(super) struct Entries<T>(pub(super) Vec<Entry<T>>);

pub(super) struct Entry<T> {
    pub(super) id: String,
    /// Where the id stands, in bytes from the start of the file.
    pub(super) offset: usize,
    pub(super) table: Field<T>,
}

impl<T: Value> Value for Entries<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, String> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Value> Visitor<'de> for EntriesVisitor<T> {
            type Value = Vec<Entry<T>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables by id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((id, table)) = map.next_entry::<Spanned<String>, Field<T>>()? {
                    entries.push(Entry {
                        offset: id.span().start,
                        id: id.into_inner(),
                        table,
                    });
                }
                Ok(entries)
            }
        }

        let mut entries = deserializer
            .deserialize_map(EntriesVisitor(PhantomData))
            .map_err(|_| "expected tables: write a header with an id, such as [clusters.main] or [tenants.acme]")?;
        entries.sort_by_key(|entry| entry.offset);
        Ok(Self(entries))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[a-z_][a-z0-9_]{0,39}$" },
            "additionalProperties": T::schema(generator),
        })
    }
}

/// Lets a serde struct stand after a key.
macro_rules! tables {
    ($($table:ty),* $(,)?) => {$(
        impl super::field::Value for $table {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, String> {
                // No field of the struct can fail, so the value itself is none of it.
                serde::Deserialize::deserialize(deserializer)
                    .map_err(|_| "expected a table: write its keys below a [header], or in braces { … }".into())
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <Self as schemars::JsonSchema>::json_schema(generator)
            }
        }
    )*};
}
pub(super) use tables;

/// Collects the mistakes of one file.
pub(super) struct Report<'a> {
    pub(super) source: &'a Source,
    pub(super) errors: Vec<Error>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, offset: usize, message: impl Into<String>) {
        self.errors.push(self.source.error(offset, message));
    }

    pub(super) fn warning(&mut self, offset: usize, message: impl Into<String>) {
        self.warnings.push(self.source.error(offset, message).to_string());
    }
}
