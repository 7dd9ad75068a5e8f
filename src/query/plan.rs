//! A query checked against the catalog: every name is looked up here, so that SQL only ever holds the catalog's.

use std::sync::Arc;

use crate::catalog::{Catalog, Column, Relation, Scope};
use crate::encode;
use crate::encode::Encoding;

use super::filter::Test;
use super::parse::{Item, Sort};
use super::sql::{Conflict, Expression, Form, Known, Sql};
use super::{Body, Error, Query, Resolution, sql};

/// A statement ready to run. Not `Debug`: parameters are never logged.
#[derive(Clone)]
pub struct Plan {
    /// The SQL. Equal for all requests of the same shape, so it can be the key of a prepared statement.
    pub statement: Arc<str>,
    /// The parameters `$1`, `$2` … in text format; their types are for the server to infer.
    pub params: Vec<Option<String>>,
    /// How each result column becomes JSON. Empty when the statement returns no rows.
    pub columns: Arc<[encode::Column]>,
    /// The same columns for people.
    pub output_columns: Vec<OutputColumn>,
    /// Whose relation it is.
    pub scope: Scope,
    /// Whether each row has one more value than there are columns: whether it was created, as a boolean.
    pub tells_created: bool,
    /// Whether reading it runs functions of the tenant's own.
    pub runs_code: bool,
    /// The most rows a read returns; 0 for a write.
    pub limit: u64,
    /// Rows that a read skips.
    pub offset: u64,
}

/// One result column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutputColumn {
    /// Its name in the result: the alias, if there is one.
    pub name: Box<str>,
    /// Its type, after a cast if there is one.
    pub type_name: Box<str>,
    /// The OID of a built-in type, otherwise 0.
    pub type_oid: u32,
    /// Whether it belongs to the primary key.
    pub is_key: bool,
}

/// What rows are read for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Values as [`encode`] takes them.
    Json,
    /// Every value as Postgres prints it.
    Text,
}

/// A read of at most `max_rows` rows, and of no more than the query's own limit.
///
/// # Errors
///
/// [`Error::Relation`] or [`Error::Column`] for a name that is not in the catalog.
pub fn read(query: &Query, catalog: &Catalog, relation: &str, max_rows: u32, output: Output) -> Result<Plan, Error> {
    let relation = find(catalog, relation)?;
    let outputs = Outputs::selected(query, relation, output)?;
    let filters = filters(query, relation)?;
    let order: Vec<(&Column, &Sort)> = query
        .order
        .iter()
        .map(|sort| Ok((column(relation, &sort.column)?, sort)))
        .collect::<Result<_, Error>>()?;
    let limit = query.limit.unwrap_or(u64::MAX).min(max_rows.into());
    let sql = sql::select(relation, &outputs.expressions, &filters, &order, limit, query.offset);
    Ok(Plan {
        limit,
        offset: query.offset,
        ..outputs.plan(relation, sql)
    })
}

/// An insert of the body's objects, all in one statement. With `returning` it returns the selected columns.
///
/// With `resolution`, rows whose `on_conflict` columns (the primary key if there is no such parameter) are there already
/// update those rows or are left out, and the statement says of each row that it returns whether it was created.
///
/// # Errors
///
/// As [`read`]; [`Error::BodyColumn`] for an unknown key, [`Error::Keys`] when keys differ and `columns` is not given.
pub fn insert(
    query: &Query,
    body: &Body,
    catalog: &Catalog,
    relation: &str,
    resolution: Option<Resolution>,
    returning: bool,
) -> Result<Plan, Error> {
    let relation = find(catalog, relation)?;
    let outputs = Outputs::returning(query, relation, returning)?;
    let columns = written(query, body, relation)?;
    let named = match &query.on_conflict {
        Some(names) => names
            .iter()
            .map(|name| column(relation, name))
            .collect::<Result<_, _>>()?,
        None => primary_key(relation),
    };
    // Without a key nothing can be there already.
    let conflict = resolution.filter(|_| !named.is_empty()).map(|resolution| Conflict {
        columns: named,
        merge: resolution == Resolution::MergeDuplicates,
    });
    if let Some(conflict) = conflict.filter(|_| body.rows() > 0 && !columns.is_empty()) {
        let sql = sql::upsert(relation, &columns, body.text(), &conflict, &outputs.expressions);
        return Ok(Plan {
            tells_created: true,
            ..outputs.plan(relation, sql)
        });
    }
    let sql = if body.rows() == 0 {
        sql::nothing(relation, &outputs.expressions)
    } else if columns.is_empty() {
        sql::insert_defaults(relation, body.rows(), &outputs.expressions)
    } else {
        sql::insert(relation, &columns, body.text(), &outputs.expressions)
    };
    Ok(outputs.plan(relation, sql))
}

/// The row that the filters name by its whole primary key becomes the body's one object, or is made of it (PostgREST,
/// "Upsert: PUT"). Columns that the body does not name keep their value, or get their default. The statement returns one
/// row, the selected columns with `returning`, and behind them whether it was created; no row if the body has another key.
///
/// # Errors
///
/// As [`insert`]; [`Error::PutFilters`], [`Error::PutRange`], [`Error::PutPayload`].
pub fn put(query: &Query, body: &Body, catalog: &Catalog, relation: &str, returning: bool) -> Result<Plan, Error> {
    let relation = find(catalog, relation)?;
    let outputs = Outputs::returning(query, relation, returning)?;
    if query.ranged {
        return Err(Error::PutRange);
    }
    let filters = filters(query, relation)?;
    let mut key = Vec::new();
    for column in primary_key(relation) {
        let mut named = filters.iter().filter_map(|test| match test {
            Known::One(filtered, filter) if filtered.name == column.name => Some(filter.equal_to()),
            _ => None,
        });
        match (named.next(), named.next()) {
            (Some(Some(value)), None) => key.push((column, value)),
            _ => return Err(Error::PutFilters),
        }
    }
    if key.is_empty() || key.len() != filters.len() {
        return Err(Error::PutFilters);
    }
    let columns = written(query, body, relation)?;
    let in_body = |(column, _): &(&Column, &str)| columns.iter().any(|written| written.name == column.name);
    if body.rows() != 1 || !key.iter().all(in_body) {
        return Err(Error::PutPayload);
    }
    let sql = sql::put(relation, &columns, body.text(), &key, &outputs.expressions);
    Ok(Plan {
        tells_created: true,
        ..outputs.plan(relation, sql)
    })
}

/// An update of the rows that pass the filters, all rows without one, to the values of the body's first object.
///
/// An object without keys touches no row. With `returning` the statement returns the selected columns.
///
/// # Errors
///
/// As [`insert`].
pub fn update(query: &Query, body: &Body, catalog: &Catalog, relation: &str, returning: bool) -> Result<Plan, Error> {
    let relation = find(catalog, relation)?;
    let outputs = Outputs::returning(query, relation, returning)?;
    let filters = filters(query, relation)?;
    let columns = written(query, body, relation)?;
    let sql = if body.rows() == 0 || columns.is_empty() {
        sql::nothing(relation, &outputs.expressions)
    } else {
        sql::update(relation, &columns, body.text(), &filters, &outputs.expressions)
    };
    Ok(outputs.plan(relation, sql))
}

/// A delete of the rows that pass the filters, all rows without one. With `returning` it returns the selected columns.
///
/// # Errors
///
/// As [`read`].
pub fn delete(query: &Query, catalog: &Catalog, relation: &str, returning: bool) -> Result<Plan, Error> {
    let relation = find(catalog, relation)?;
    let outputs = Outputs::returning(query, relation, returning)?;
    let sql = sql::delete(relation, &filters(query, relation)?, &outputs.expressions);
    Ok(outputs.plan(relation, sql))
}

/// The columns of a result, in the three forms that are needed.
#[derive(Default)]
struct Outputs<'c> {
    expressions: Vec<Expression<'c>>,
    encoded: Vec<encode::Column>,
    described: Vec<OutputColumn>,
}

impl<'c> Outputs<'c> {
    fn selected(query: &Query, relation: &'c Relation, output: Output) -> Result<Self, Error> {
        let mut outputs = Self::default();
        let all = [Item::All];
        let items = if query.select.is_empty() {
            &all
        } else {
            query.select.as_slice()
        };
        for item in items {
            match item {
                Item::All => {
                    for (at, column) in relation.columns.iter().enumerate() {
                        let is_key = relation.primary_key.contains(&at);
                        outputs.push(
                            Expression {
                                column,
                                cast: None,
                                form: Form::AsIs,
                            },
                            &column.name,
                            is_key,
                            output,
                        );
                    }
                }
                Item::Column { name, alias, cast } => {
                    let (at, column) = relation.column(name).ok_or_else(|| unknown(relation, name))?;
                    let is_key = relation.primary_key.contains(&at);
                    let expression = Expression {
                        column,
                        cast: *cast,
                        form: Form::AsIs,
                    };
                    outputs.push(expression, alias.as_ref().unwrap_or(name), is_key, output);
                }
            }
        }
        Ok(outputs)
    }

    fn returning(query: &Query, relation: &'c Relation, returning: bool) -> Result<Self, Error> {
        if returning {
            Self::selected(query, relation, Output::Json)
        } else {
            Ok(Self::default())
        }
    }

    fn push(&mut self, mut expression: Expression<'c>, name: &str, is_key: bool, output: Output) {
        let (type_name, type_oid) = match expression.cast {
            Some(cast) => (cast.name, cast.oid),
            None => (&*expression.column.type_name, expression.column.type_oid),
        };
        let encoding;
        (expression.form, encoding) = match (output, Encoding::of_type(type_oid)) {
            (Output::Text, _) => (Form::Text, Encoding::Text),
            (Output::Json, Some(encoding)) => (Form::AsIs, encoding),
            (Output::Json, None) => (Form::ToJson, Encoding::Json),
        };
        self.encoded.push(encode::Column::new(name, encoding));
        self.described.push(OutputColumn {
            name: name.into(),
            type_name: type_name.into(),
            type_oid,
            is_key,
        });
        self.expressions.push(expression);
    }

    fn plan(self, relation: &Relation, sql: Sql) -> Plan {
        Plan {
            statement: sql.text.into(),
            params: sql.params,
            columns: self.encoded.into(),
            output_columns: self.described,
            scope: relation.scope,
            tells_created: false,
            runs_code: relation.runs_code,
            limit: 0,
            offset: 0,
        }
    }
}

fn find<'c>(catalog: &'c Catalog, relation: &str) -> Result<&'c Relation, Error> {
    catalog
        .relation(relation)
        .ok_or_else(|| Error::Relation(relation.to_owned()))
}

fn column<'c>(relation: &'c Relation, name: &str) -> Result<&'c Column, Error> {
    relation
        .column(name)
        .map(|(_, column)| column)
        .ok_or_else(|| unknown(relation, name))
}

fn unknown(relation: &Relation, column: &str) -> Error {
    Error::Column {
        relation: relation.name.clone(),
        column: column.to_owned(),
    }
}

/// The filters with their columns looked up.
fn filters<'c>(query: &'c Query, relation: &'c Relation) -> Result<Vec<Known<'c>>, Error> {
    known(&query.filters, relation)
}

fn known<'c>(tests: &'c [Test], relation: &'c Relation) -> Result<Vec<Known<'c>>, Error> {
    let look_up = |test: &'c Test| match test {
        Test::One(filter) => Ok(Known::One(column(relation, &filter.column)?, filter)),
        Test::Group(group) => Ok(Known::Group(group, known(&group.tests, relation)?)),
    };
    tests.iter().map(look_up).collect()
}

fn primary_key(relation: &Relation) -> Vec<&Column> {
    let columns = relation.primary_key.iter();
    columns.filter_map(|&at| relation.columns.get(at)).collect()
}

/// The columns that a write sets: those of `columns` if it was sent, otherwise those of the body; each once.
fn written<'c>(query: &Query, body: &Body, relation: &'c Relation) -> Result<Vec<&'c Column>, Error> {
    let names = match &query.columns {
        Some(names) => names,
        None => body.keys()?,
    };
    let mut taken = vec![false; relation.columns.len()];
    let mut columns = Vec::new();
    for name in names {
        let Some((at, column)) = relation.column(name) else {
            return Err(Error::BodyColumn {
                relation: relation.name.clone(),
                column: name.clone(),
            });
        };
        if !std::mem::replace(&mut taken[at], true) {
            columns.push(column);
        }
    }
    Ok(columns)
}
