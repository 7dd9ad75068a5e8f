//! The rows of [`super::LOAD_SQL`]: what Postgres' catalogs say, by OID and column number.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::RoleSetting;

/// Why a row is not one of [`super::LOAD_SQL`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// Another number of values.
    #[error("a catalog row of {0} values instead of {WIDTH}")]
    Width(usize),
    /// A value that is not what the statement makes.
    #[error("the catalog's {part} cannot be read: {reason}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

/// Columns of [`super::LOAD_SQL`].
const WIDTH: usize = 9;

#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) relations: Vec<Relation>,
    pub(super) columns: Vec<Column>,
    pub(super) keys: Vec<Key>,
    pub(super) views: Vec<View>,
    pub(super) functions: Vec<Function>,
    pub(super) of_row: Vec<OfRow>,
    pub(super) casts: Vec<Cast>,
    pub(super) handlers: Vec<Handler>,
    pub(super) schema: Schema,
}

impl Raw {
    pub(super) fn parse(values: &[Option<&str>]) -> Result<Self, Error> {
        let &[
            relations,
            columns,
            keys,
            views,
            functions,
            of_row,
            casts,
            handlers,
            schema,
        ] = values
        else {
            return Err(Error::Width(values.len()));
        };
        Ok(Self {
            relations: part("relations", relations)?,
            columns: part("columns", columns)?,
            keys: part("keys", keys)?,
            views: part("views", views)?,
            functions: part("functions", functions)?,
            of_row: part("computed fields", of_row)?,
            casts: part("casts", casts)?,
            handlers: part("media types", handlers)?,
            schema: part("schema", schema)?,
        })
    }
}

fn part<T: DeserializeOwned>(part: &'static str, json: Option<&str>) -> Result<T, Error> {
    serde_json::from_str(json.unwrap_or_default()).map_err(|error| Error::Part {
        part,
        reason: error.to_string(),
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) name: Box<str>,
    pub(super) own: bool,
    pub(super) kind: char,
    pub(super) security: bool,
    pub(super) comment: Option<Box<str>>,
    /// The bits of `pg_relation_is_updatable`, for what is no table.
    pub(super) changes: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Column {
    pub(super) relation: u32,
    pub(super) number: i16,
    pub(super) name: Box<str>,
    #[serde(rename = "type")]
    pub(super) type_name: Box<str>,
    pub(super) base: Box<str>,
    pub(super) type_oid: u32,
    pub(super) not_null: bool,
    /// `a`, `d` or nothing.
    pub(super) identity: Box<str>,
    pub(super) computed: bool,
    pub(super) code: bool,
    pub(super) default: Option<Box<str>>,
    pub(super) comment: Option<Box<str>>,
    pub(super) max_length: Option<u32>,
    pub(super) labels: Option<Box<[Box<str>]>>,
}

/// A primary, unique or foreign key.
#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) kind: char,
    pub(super) relation: u32,
    pub(super) columns: Vec<i16>,
    pub(super) target: u32,
    pub(super) target_columns: Vec<i16>,
}

#[derive(Debug, Deserialize)]
pub(super) struct View {
    pub(super) relation: u32,
    pub(super) action: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: Box<str>,
    pub(super) own: bool,
    pub(super) comment: Option<Box<str>>,
    pub(super) volatility: char,
    pub(super) set: bool,
    pub(super) arguments: Vec<Argument>,
    #[serde(rename = "type")]
    pub(super) type_name: Box<str>,
    pub(super) base: Box<str>,
    pub(super) type_oid: u32,
    /// The relation whose row type, or the composite type that it returns, or 0.
    pub(super) relation: u32,
    pub(super) columns: Option<Vec<ResultColumn>>,
    pub(super) settings: Option<Vec<(Box<str>, Box<str>)>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Argument {
    pub(super) name: Box<str>,
    #[serde(rename = "type")]
    pub(super) type_name: Box<str>,
    pub(super) required: bool,
    pub(super) variadic: bool,
}

/// A column of a function's result.
#[derive(Debug, Deserialize)]
pub(super) struct ResultColumn {
    pub(super) name: Box<str>,
    #[serde(rename = "type")]
    pub(super) type_name: Box<str>,
    pub(super) base: Box<str>,
    pub(super) type_oid: u32,
}

/// A function of one row.
#[derive(Debug, Deserialize)]
pub(super) struct OfRow {
    /// Of which relation; none for any.
    pub(super) relation: Option<u32>,
    pub(super) name: Box<str>,
    pub(super) own: bool,
    pub(super) visible: bool,
    pub(super) set: bool,
    pub(super) one_row: bool,
    #[serde(rename = "type")]
    pub(super) type_name: Box<str>,
    pub(super) base: Box<str>,
    pub(super) type_oid: u32,
    pub(super) target: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cast {
    pub(super) source: Box<str>,
    pub(super) target: Box<str>,
    pub(super) function: Box<str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Handler {
    pub(super) media_type: Box<str>,
    pub(super) function: Box<str>,
    pub(super) relation: Option<Box<str>>,
    pub(super) call: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Schema {
    pub(super) comment: Option<Box<str>>,
    pub(super) roles: Box<[RoleSetting]>,
}
