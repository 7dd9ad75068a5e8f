//! The statement around a tree's rows: how many there are in all, and what they become.

use crate::catalog::{Column, Takes};
use crate::encode;
use crate::encode::Encoding;
use crate::query::plan::{Context, Delivery, Explain, OutputColumn, Plan, Rows, runs_code};
use crate::query::preferences::Count;
use crate::query::tree::{Node, Out, Value};

use super::{CREATED, Form, Param, Source, Sql, encoding};

/// A statement that delivers a tree's rows.
pub(in crate::query) struct Page<'a, 'c> {
    pub(in crate::query) context: &'a Context<'c>,
    pub(in crate::query) node: &'a Node<'a>,
    pub(in crate::query) source: Source<'a>,
    pub(in crate::query) delivery: Delivery<'a>,
    pub(in crate::query) limit: Option<u64>,
    pub(in crate::query) count: Option<Count>,
    pub(in crate::query) created: bool,
}

impl Page<'_, '_> {
    /// `sql` holds what stands before: nothing, or a `WITH`.
    pub(in crate::query) fn plan(&self, mut sql: Sql) -> Plan {
        let (delivery, explain) = match self.delivery {
            Delivery::Explained(explain) => (Delivery::Json, Some(explain)),
            delivery => (delivery, None),
        };
        if let Some(explain) = explain {
            let before = std::mem::take(&mut sql.text);
            sql.text = explained(explain) + &before;
        }
        sql.zoned = self.context.zoned;
        sql.binary_json = matches!(delivery, Delivery::Custom(_));
        sql.untyped_rows = matches!(self.source, Source::Rows);
        let total = matches!(self.count, Some(Count::Exact | Count::Estimated));
        let rows = match delivery {
            Delivery::Json => self.rows(&mut sql, Form::Binary, total, Rows::Objects),
            Delivery::Text => self.rows(&mut sql, Form::Text, total, Rows::Text),
            Delivery::Stripped => self.rows(&mut sql, Form::Named, total, Rows::Whole),
            Delivery::GeoJson => {
                let document = "json_build_object('type', 'FeatureCollection', 'features', \
                                COALESCE(json_agg(ST_AsGeoJSON(p)::json), '[]'))";
                self.document(&mut sql, document, total)
            }
            Delivery::Custom(handler) => {
                let document = match &handler.takes {
                    Takes::Anything => format!("{}(p)", handler.function),
                    Takes::Relation(_) => {
                        let mut cast = Sql::default();
                        cast.push(&handler.function);
                        cast.push("(p::");
                        cast.relation(self.context.catalog, self.node.relation);
                        cast.push(")");
                        cast.text
                    }
                    // The value is what it shall be already; grouping by nothing, there is one.
                    Takes::Function(_) => return self.value(sql, total),
                };
                self.document(&mut sql, &document, total)
            }
            Delivery::Number | Delivery::Explained(_) => {
                sql.push("SELECT count(*)");
                if total {
                    self.total(&mut sql, ", (", ")");
                }
                if self.created {
                    sql.push(", count(*) FILTER (WHERE ");
                    sql.push(CREATED);
                    sql.push(")");
                }
                sql.push(" FROM (");
                let extra = if self.created {
                    format!("t.{CREATED}")
                } else {
                    String::new()
                };
                sql.select(
                    self.context.catalog,
                    self.node,
                    self.source,
                    Form::Named,
                    self.limit,
                    &extra,
                );
                sql.push(") AS p");
                Rows::Number
            }
        };
        self.finish(sql, rows, total, explain.is_some())
    }

    fn finish(&self, sql: Sql, rows: Rows, total: bool, explained: bool) -> Plan {
        let grouped = self.node.outputs.iter().any(|out| out.aggregate.is_some());
        let encoded = |out: &Out<'_>| {
            let made = if grouped && out.aggregate.is_none() {
                Encoding::Jsonb
            } else {
                Encoding::Json
            };
            encode::Column::new(out.name, encoding(out, grouped, self.context.zoned).unwrap_or(made))
        };
        let planned = matches!(self.count, Some(Count::Planned | Count::Estimated)).then(|| {
            let mut sql = Sql::default();
            sql.push("EXPLAIN (FORMAT JSON) ");
            let source = match self.source {
                Source::Rows => Source::Relation(self.node.relation),
                source => source,
            };
            sql.counted(self.context.catalog, self.node, source);
            (sql.text.into(), sql.params.into())
        });
        Plan {
            statement: sql.text.into(),
            params: sql.params.into(),
            columns: self.node.outputs.iter().map(encoded).collect(),
            output_columns: self.node.outputs.iter().map(|out| self.described(out)).collect(),
            rows: if explained { Rows::Lines } else { rows },
            tells_created: self.created,
            tells_total: total,
            planned,
            runs_code: runs_code(self.node),
            ..Plan::default()
        }
    }

    fn described(&self, out: &Out<'_>) -> OutputColumn {
        let relation = self.node.relation;
        let type_name = type_name(&out.value);
        let is_key = |column: &Column| relation.key().any(|key| key.name == column.name);
        OutputColumn {
            name: out.name.into(),
            type_name: type_name.into(),
            is_key: out.shows.is_some_and(is_key),
        }
    }

    /// One row for each row, and with `total` at least one: how many there are in all is told even if none is on the page.
    fn rows(&self, sql: &mut Sql, form: Form, total: bool, rows: Rows) -> Rows {
        if total {
            sql.push("SELECT p.*, total.n FROM (");
            self.total(sql, "", "");
            sql.push(") AS total(n) LEFT JOIN LATERAL (");
        }
        let mut extra = String::new();
        if self.created {
            extra = format!("t.{CREATED}");
        }
        if total {
            extra.push_str("true AS present");
        }
        let whole = rows == Rows::Whole;
        if whole {
            // The extra columns stand beside the row, not in it.
            sql.push("SELECT json_strip_nulls(row_to_json(p))");
            sql.push(if total { ", true AS present" } else { "" });
            sql.push(" FROM (");
            extra.clear();
        }
        sql.select(self.context.catalog, self.node, self.source, form, self.limit, &extra);
        sql.push(if whole { ") AS p" } else { "" });
        sql.push(if total { ") AS p ON true" } else { "" });
        rows
    }

    fn document(&self, sql: &mut Sql, document: &str, total: bool) -> Rows {
        sql.push("SELECT ");
        sql.push(document);
        sql.push(", count(*)");
        if total {
            self.total(sql, ", (", ")");
        }
        sql.push(" FROM (");
        sql.select(
            self.context.catalog,
            self.node,
            self.source,
            Form::Named,
            self.limit,
            "",
        );
        sql.push(") AS p");
        Rows::Document
    }

    /// The one value of a function, as it is.
    fn value(&self, mut sql: Sql, total: bool) -> Plan {
        sql.push("SELECT p.*, 1::bigint");
        if total {
            self.total(&mut sql, ", (", ")");
        }
        sql.push(" FROM (");
        sql.select(
            self.context.catalog,
            self.node,
            self.source,
            Form::Named,
            self.limit,
            "",
        );
        sql.push(") AS p");
        self.finish(sql, Rows::Document, total, false)
    }

    /// How many rows there are in all; of an estimate no more are counted than would be delivered, and one.
    fn total(&self, sql: &mut Sql, before: &str, after: &str) {
        sql.push(before);
        sql.push("SELECT count(*) FROM (");
        sql.counted(self.context.catalog, self.node, self.source);
        if let (Some(Count::Estimated), Some(most)) = (self.count, self.context.max_rows) {
            sql.push(" LIMIT ");
            sql.param(Param::at_most(None, most.saturating_add(1)));
            sql.push("::bigint");
        }
        sql.push(") AS counted");
        sql.push(after);
    }
}

fn explained(explain: Explain) -> String {
    let mut options = vec![if explain.json { "FORMAT JSON" } else { "FORMAT TEXT" }];
    for (wanted, option) in [
        (explain.analyze, "ANALYZE"),
        (explain.verbose, "VERBOSE"),
        (explain.settings, "SETTINGS"),
        (explain.buffers, "BUFFERS"),
        (explain.wal, "WAL"),
    ] {
        if wanted {
            options.push(option);
        }
    }
    format!("EXPLAIN ({}) ", options.join(", "))
}

/// The type of a value, for people.
fn type_name<'v>(value: &'v Value<'_>) -> &'v str {
    match value {
        Value::Field { cast: Some(cast), .. } => &cast.name,
        Value::Field { column, path: [], .. } => &column.type_name,
        Value::Spread { of, many: false, .. } => type_name(of),
        _ => "json",
    }
}
