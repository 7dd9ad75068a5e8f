//! The pure part of a request: query string to `Query`, and that with a catalog to SQL.

#![expect(clippy::expect_used, reason = "a request that fails would be measured as a fast one")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

use rowhouse::catalog::{Builder, Catalog};
use rowhouse::query::Query;
use rowhouse::query::plan::{self, Output};

criterion_group!(benches, parse, plan);
criterion_main!(benches);

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("query/parse");
    for (name, query_string) in [("1_filter", ONE_FILTER), ("8_filters", EIGHT_FILTERS)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Query::parse(black_box(query_string)).expect("the dialect"));
        });
    }
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let catalog = catalog();
    let query = Query::parse(EIGHT_FILTERS).expect("the dialect");
    let mut group = criterion.benchmark_group("query/plan");
    group.bench_function("8_filters", |bencher| {
        bencher.iter(|| {
            plan::read(black_box(&query), &catalog, "mylist", 1000, Output::Json).expect("all names are in the catalog")
        });
    });
    group.finish();
}

/// One table of a to-do list.
fn catalog() -> Catalog {
    let mut builder = Builder::default();
    let columns = [
        ("id", "bigint", "20"),
        ("text", "character varying(255)", "1043"),
        ("checkbox", "boolean", "16"),
        ("created", "timestamp with time zone", "1184"),
        ("due", "date", "1082"),
        ("tags", "text[]", "1009"),
        ("details", "jsonb", "3802"),
    ];
    for (name, type_name, oid) in columns {
        let position = (name == "id").then_some("0");
        let [yes, no] = [Some("true"), Some("false")];
        let relation = [Some("mylist"), Some("tenant"), Some("r"), no, None];
        let column = [Some(name), Some(type_name), Some(oid), yes, no, no, position];
        builder
            .row(&[&relation[..], &column].concat())
            .expect("the form of LOAD_SQL");
    }
    builder.finish()
}

const ONE_FILTER: &str = "id=eq.42";

const EIGHT_FILTERS: &str = "select=id,title:text,due::text,tags&id=gt.10&id=lt.5000&text=ilike.*caf%C3%A9*\
    &checkbox=is.false&due=gte.2026-01-01&due=not.is.null&created=lt.2026-06-01&id=in.(1,2,3,%224%22)\
    &order=due.desc.nullslast,id&limit=50&offset=100";
