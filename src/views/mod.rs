//! From tenants, catalogs and rows to what the pages show.

pub mod form;
pub mod grid;
mod sent;

pub use grid::{Filter, GRID_SIZE, GridQuery, Operator, Place};
pub use sent::Sent;

use std::sync::Arc;

use crate::catalog;
use crate::catalog::{Catalog, Relation, Scope};
use crate::pages;
use crate::pages::words::Words;
use crate::pages::{Kind, List, Street, TenantLine};
use crate::query::{Plan, Query};
use crate::tenant::{State, Tenant};

/// Rows on one page of a list.
pub const PAGE_SIZE: u32 = 50;

/// Tenants on one page of the street.
const STREET_PAGE: usize = 100;

/// `?page=2&q=text` of a page's address.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct PageQuery {
    /// From 1.
    page: u64,
    search: String,
}

impl PageQuery {
    /// Reads a query string; what is not understood counts as absent, as people edit addresses by hand.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut page = 1;
        let mut search = String::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("page", value)) => page = value.parse().unwrap_or(1).clamp(1, 1_000_000),
                Some(("q", value)) => search = grid::decoded(value).trim().to_owned(),
                _ => {}
            }
        }
        Self { page, search }
    }
}

/// The rows of one page of a list, and one more to tell whether a page follows.
#[must_use]
pub fn list_query(relation: &Relation, page: &PageQuery) -> Query {
    let offset = (page.page - 1).saturating_mul(PAGE_SIZE.into());
    // A view has the keys of its tables, which need not order it well.
    let keys = relation.key().filter(|_| !relation.is_view());
    Query::page(keys.map(|column| &*column.name), u64::from(PAGE_SIZE) + 1, offset)
}

/// The page of a relation's rows.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "all that a page shows comes together here")]
pub fn list(
    words: &'static Words,
    catalog: &Catalog,
    plan: &Plan,
    name: &str,
    tenant: &Tenant,
    host: &str,
    mut rows: Vec<Vec<Option<String>>>,
    page: &PageQuery,
) -> String {
    let relations = navigation(catalog, tenant);
    let relation = catalog.relation(name);
    let columns: Vec<_> = plan
        .output_columns
        .iter()
        .map(|column| pages::Column {
            name: &column.name,
            kind: kind_of(&column.type_name),
            type_name: &column.type_name,
            key: column.is_key,
        })
        .collect();
    let has_next = rows.len() > PAGE_SIZE as usize;
    rows.truncate(PAGE_SIZE as usize);
    List {
        words,
        tenant: tenant.config().id.as_str(),
        host,
        relation: pages::Relation {
            name,
            scope: scope(plan.scope.unwrap_or(Scope::Shared), tenant),
        },
        relations: &relations,
        description: relation.and_then(|relation| relation.comment.as_deref()),
        columns: &columns,
        rows,
        page: page.page,
        has_next,
        page_size: PAGE_SIZE.into(),
    }
    .render()
}

/// The operator's page of all tenants, those in trouble first.
#[must_use]
pub fn street(
    words: &'static Words,
    tenants: &[Arc<Tenant>],
    operator: &Tenant,
    host: &str,
    catalog: &Catalog,
    page: &PageQuery,
) -> String {
    let matches = |tenant: &&Arc<Tenant>| {
        let config = tenant.config();
        page.search.is_empty()
            || config.id.as_str().contains(&page.search)
            || tenant.state().as_str() == page.search
            || config.hosts.iter().any(|host| host.as_str().contains(&page.search))
    };
    let mut found: Vec<(&Arc<Tenant>, Arc<State>)> = tenants
        .iter()
        .filter(matches)
        .map(|tenant| (tenant, tenant.state()))
        .collect();
    found.sort_by_key(|(_, state)| matches!(**state, State::Live));
    let total = found.len() as u64;
    let first = usize::try_from(page.page - 1)
        .unwrap_or(usize::MAX)
        .saturating_mul(STREET_PAGE);
    let lines = found.iter().skip(first).take(STREET_PAGE).map(|(tenant, state)| {
        let config = tenant.config();
        let (state, reason) = match &**state {
            State::Live => (pages::State::Live, None),
            State::Onboarding => (pages::State::Onboarding, None),
            State::Failed { .. } => (pages::State::Failed, Some(words.see_status)),
            State::Draining => (pages::State::Draining, None),
        };
        TenantLine {
            id: config.id.as_str(),
            hosts: config.hosts.iter().map(|host| host.as_str()).collect(),
            state,
            reason,
            schema: config.schema.as_str(),
            cluster: config.cluster.as_str(),
        }
    });
    Street {
        words,
        tenant: operator.config().id.as_str(),
        host,
        relations: &navigation(catalog, operator),
        tenants: lines.collect(),
        query: &page.search,
        total,
        page: page.page,
        page_size: STREET_PAGE as u64,
    }
    .render()
}

pub(crate) fn navigation<'a>(catalog: &'a Catalog, tenant: &Tenant) -> Vec<pages::Relation<'a>> {
    catalog
        .relations()
        .iter()
        .map(|relation| pages::Relation {
            name: &relation.name,
            scope: scope(relation.scope, tenant),
        })
        .collect()
}

/// Whose rows they are, for people: the operator's own schema is the one that all share.
pub(crate) fn scope(scope: Scope, tenant: &Tenant) -> pages::Scope {
    match scope {
        Scope::Tenant if !tenant.config().is_operator() => pages::Scope::Tenant,
        Scope::Tenant | Scope::Shared => pages::Scope::Shared,
    }
}

/// How a column's values look on a page.
pub(crate) fn kind(column: &catalog::Column) -> Kind {
    // What a domain is at bottom decides, not what it is called.
    kind_of(&column.base_type)
}

/// How a type's values look on a page, by the name Postgres gives it.
fn kind_of(type_name: &str) -> Kind {
    if type_name.ends_with("[]") {
        return Kind::Array;
    }
    match type_name.split('(').next().unwrap_or_default().trim_end() {
        "boolean" => Kind::Boolean,
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" => Kind::Number,
        "json" | "jsonb" => Kind::Json,
        "date" => Kind::Date,
        "text" | "character varying" | "character" | "citext" | "name" => Kind::Text,
        name if name.starts_with("timestamp") => Kind::Timestamp,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_queries_forgive() {
        let query = |page, search: &str| PageQuery {
            page,
            search: search.to_owned(),
        };
        assert_eq!(PageQuery::parse(""), query(1, ""));
        assert_eq!(PageQuery::parse("page=3&q=cli+ente%20%C3%A7"), query(3, "cli ente ç"));
        assert_eq!(PageQuery::parse("page=0"), query(1, ""));
        assert_eq!(PageQuery::parse("page=-1&q=%zz%"), query(1, "%zz%"));
    }

    #[test]
    fn types_look_like_what_they_are() {
        assert_eq!(kind_of("timestamp with time zone"), Kind::Timestamp);
        assert_eq!(kind_of("timestamp(3) without time zone"), Kind::Timestamp);
        assert_eq!(kind_of("character varying(255)"), Kind::Text);
        assert_eq!(kind_of("text[]"), Kind::Array);
        assert_eq!(kind_of("numeric(10,2)"), Kind::Number);
    }
}
