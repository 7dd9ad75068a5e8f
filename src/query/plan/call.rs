//! Calls of functions: which of its overloads is meant, and what it returns, read as a relation if it is rows.

use crate::catalog::{Argument, Catalog, Function, Relation, Returns};
use crate::query::preferences::Count;
use crate::query::sql::{Call, Given, Page, Source, Sql};
use crate::query::tree::Grower;
use crate::query::{Error, Query, hint};

use super::{Context, Delivery, Plan, Rows};

/// What a function is called with.
#[derive(Clone, Copy)]
pub enum Arguments<'a> {
    /// The query string, or a form.
    Named,
    /// A JSON body and the names in it.
    Json {
        /// Its keys, or those of `columns`.
        keys: &'a [String],
    },
    /// A body of rows, the first of which counts, and the names in it.
    Rows {
        /// Its columns.
        keys: &'a [String],
    },
    /// A body of another type: the type that the function's one argument must have.
    Raw {
        /// `text`, `xml` or `bytea`.
        type_name: &'static str,
    },
}

/// The function that a call means: by its name, and the names of the arguments given.
///
/// # Errors
///
/// [`Error::Function`] if there is none, [`Error::AmbiguousFunction`] if there are several.
pub fn function<'c>(
    context: &Context<'c>,
    query: &Query,
    name: &str,
    arguments: Arguments<'_>,
) -> Result<&'c Function, Error> {
    let mut names: Vec<String> = match arguments {
        Arguments::Named => query.arguments.iter().map(|(name, _)| name.clone()).collect(),
        Arguments::Json { keys } | Arguments::Rows { keys } => keys.to_vec(),
        Arguments::Raw { .. } => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    let overloads = context.catalog.functions_named(name);
    let fits = |function: &&Function| {
        let known = |name: &String| function.arguments.iter().any(|argument| *argument.name == **name);
        let given = |argument: &&Argument| names.iter().any(|name| **name == *argument.name);
        if function.arguments.is_empty() {
            return names.is_empty() && !matches!(arguments, Arguments::Raw { .. });
        }
        let required = |argument: &&Argument| argument.required;
        names.iter().all(known)
            && function
                .arguments
                .iter()
                .filter(required)
                .all(|argument| given(&argument))
    };
    let takes_body = |function: &&Function| match (arguments, &*function.arguments) {
        (Arguments::Json { .. }, [only]) => only.name.is_empty() && matches!(&*only.type_name, "json" | "jsonb"),
        (Arguments::Raw { type_name }, [only]) => only.name.is_empty() && *only.type_name == *type_name,
        _ => false,
    };
    let named: Vec<&Function> = overloads.iter().filter(fits).collect();
    let found = if named.is_empty() {
        overloads.iter().filter(takes_body).collect()
    } else {
        named
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::Function {
            schema: context.schema.to_owned(),
            name: name.to_owned(),
            body: match arguments {
                Arguments::Named | Arguments::Rows { .. } => None,
                Arguments::Json { .. } => Some("json"),
                Arguments::Raw { type_name } => Some(type_name),
            },
            similar: hint::function(context.catalog, name, &names),
            arguments: names,
        }),
        several => Err(Error::AmbiguousFunction {
            candidates: several
                .iter()
                .map(|function| {
                    let arguments = function.arguments.iter();
                    let listed: Vec<String> = arguments
                        .map(|argument| format!("{} => {}", argument.name, argument.type_name))
                        .collect();
                    format!("{}.{name}({})", context.schema, listed.join(", "))
                })
                .collect(),
        }),
    }
}

/// The relation whose rows, or whose kind of rows, a function returns; none if it returns nothing.
#[must_use]
pub fn result<'c>(catalog: &'c Catalog, function: &'c Function) -> Option<&'c Relation> {
    match &function.returns {
        Returns::Void => None,
        Returns::Relation(at) => catalog.relations().get(*at),
        Returns::Scalar(relation) | Returns::Columns(relation) => Some(relation),
    }
}

/// A call of a function.
///
/// # Errors
///
/// As [`read`](super::read).
pub fn call(
    context: &Context<'_>,
    query: &Query,
    function: &Function,
    arguments: Arguments<'_>,
    delivery: Delivery<'_>,
    count: Option<Count>,
) -> Result<Plan, Error> {
    let given_names = |name: &str| match arguments {
        Arguments::Named => query.arguments.iter().any(|(other, _)| *other == *name),
        Arguments::Json { keys } | Arguments::Rows { keys } => keys.iter().any(|other| *other == *name),
        Arguments::Raw { .. } => false,
    };
    let unnamed = matches!(&*function.arguments, [only] if only.name.is_empty());
    let specified: Vec<&Argument> = function
        .arguments
        .iter()
        .filter(|argument| unnamed || given_names(&argument.name))
        .collect();
    let call = Call {
        function,
        arguments: &specified,
        given: match arguments {
            _ if unnamed => Given::Body,
            Arguments::Named => Given::Named,
            Arguments::Json { .. } | Arguments::Rows { .. } | Arguments::Raw { .. } => Given::Json,
        },
    };
    let settled = |mut plan: Plan| {
        plan.settings = function.settings.clone();
        plan.scope = Some(function.scope);
        plan.runs_code = true;
        plan
    };
    let Some(relation) = result(context.catalog, function) else {
        let mut sql = Sql::default();
        sql.call_rows(context.catalog, call);
        return Ok(settled(Plan {
            statement: sql.text.into(),
            params: sql.params.into(),
            ..Plan::default()
        }));
    };
    let shape = query.shape()?;
    let mut grower = Grower::new(context);
    let node = grower.grow(&shape, relation, false)?;
    let mut sql = Sql::default();
    let exact = matches!(count, Some(Count::Exact | Count::Estimated));
    let source = if exact {
        // It runs once, and both its rows and their number come of that.
        sql.begin_source();
        sql.call_rows(context.catalog, call);
        sql.end_source();
        Source::Rows
    } else {
        Source::Call(call)
    };
    let page = Page {
        context,
        node: &node,
        source,
        delivery,
        limit: context.max_rows,
        count,
        created: false,
    };
    let mut plan = settled(page.plan(sql));
    plan.single = !function.returns_set;
    if function.returns_scalar() && plan.rows == Rows::Objects {
        plan.rows = Rows::Values;
    }
    plan.legacy_names = grower.legacy_used.into();
    Ok(plan)
}
