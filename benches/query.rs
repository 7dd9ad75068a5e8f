//! The pure part of a request: query string to `Query`, and that with a catalog to SQL.

#![expect(clippy::expect_used, reason = "a request that fails would be measured as a fast one")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

use rowhouse::catalog::{Catalog, Loaded};
use rowhouse::query::plan::{self, Context, Delivery};
use rowhouse::query::{Plans, Purpose, Query};

criterion_group!(benches, parse, plan, cached);
criterion_main!(benches);

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("query/parse");
    for (name, query_string) in [
        ("1_filter", ONE_FILTER),
        ("8_filters", EIGHT_FILTERS),
        ("2_embeds", TWO_EMBEDS),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Query::parse(black_box(query_string), Purpose::Relation).expect("the dialect"));
        });
    }
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let catalog = catalog();
    let context = Context {
        catalog: &catalog,
        schema: "acme",
        max_rows: Some(1000),
        aggregates: false,
        legacy_names: true,
        zoned: false,
    };
    let relation = plan::relation(&context, "mylist").expect("it is in the catalog");
    let mut group = criterion.benchmark_group("query/plan");
    for (name, query_string) in [
        ("1_filter", ONE_FILTER),
        ("8_filters", EIGHT_FILTERS),
        ("2_embeds", TWO_EMBEDS),
    ] {
        let query = Query::parse(query_string, Purpose::Relation).expect("the dialect");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                plan::read(&context, black_box(&query), relation, Delivery::Json, None)
                    .expect("all names are in the catalog")
            });
        });
    }
    group.finish();
}

/// Query string to statement and parameters, when another request has asked for the same before.
fn cached(criterion: &mut Criterion) {
    let catalog = catalog();
    let context = Context {
        catalog: &catalog,
        schema: "acme",
        max_rows: Some(1000),
        aggregates: false,
        legacy_names: true,
        zoned: false,
    };
    let relation = plan::relation(&context, "mylist").expect("it is in the catalog");
    let plans = Plans::new();
    let mut group = criterion.benchmark_group("query/cached");
    for (name, query_string) in [
        ("1_filter", ONE_FILTER),
        ("8_filters", EIGHT_FILTERS),
        ("2_embeds", TWO_EMBEDS),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let query = Query::parse(black_box(query_string), Purpose::Relation).expect("the dialect");
                let plan = plans
                    .read(&context, 0, &query, relation, Delivery::Json, None)
                    .expect("all names are in the catalog");
                black_box(plan.params(&query, None));
            });
        });
    }
    group.finish();
}

/// A to-do list, with places and people.
fn catalog() -> Catalog {
    let columns = [
        (1, 1, "id", "bigint", 20),
        (1, 2, "text", "character varying(255)", 1043),
        (1, 3, "checkbox", "boolean", 16),
        (1, 4, "created", "timestamp with time zone", 1184),
        (1, 5, "due", "date", 1082),
        (1, 6, "tags", "text[]", 1009),
        (1, 7, "details", "jsonb", 3802),
        (1, 8, "place_id", "bigint", 20),
        (2, 1, "id", "bigint", 20),
        (2, 2, "name", "text", 25),
        (3, 1, "entry", "bigint", 20),
        (3, 2, "name", "text", 25),
    ];
    let columns = columns.map(|(relation, number, name, type_name, oid)| {
        json!({
            "relation": relation, "number": number, "name": name, "type": type_name, "base": type_name, "type_oid": oid,
            "not_null": true, "identity": "", "computed": false, "code": false, "default": null, "comment": null, "max_length": null,
            "labels": null,
        })
    });
    let relations = [(1, "mylist"), (2, "place"), (3, "step")].map(|(oid, name)| {
        json!({ "oid": oid, "name": name, "own": true, "kind": "r", "security": false, "comment": null, "changes": null })
    });
    let key = |name: &str, kind: &str, relation: u32, columns: [i16; 1], target: u32, target_columns: &[i16]| {
        json!({
            "name": name, "kind": kind, "relation": relation, "columns": columns, "target": target,
            "target_columns": target_columns,
        })
    };
    let keys = [
        key("mylist_pkey", "p", 1, [1], 0, &[]),
        key("mylist_place_id_fkey", "f", 1, [8], 2, &[1]),
        key("step_entry_fkey", "f", 3, [1], 1, &[1]),
    ];
    let nothing = json!([]);
    let parts = [
        json!(relations),
        json!(columns),
        json!(keys),
        nothing.clone(),
        nothing.clone(),
        nothing.clone(),
        nothing.clone(),
        nothing,
        json!({ "comment": null, "roles": [] }),
    ]
    .map(|part| part.to_string());
    let row: Vec<_> = parts.iter().map(|part| Some(&**part)).collect();
    Loaded::from_row(&row, None).expect("the form of LOAD_SQL").catalog
}

const ONE_FILTER: &str = "id=eq.42";

const EIGHT_FILTERS: &str = "select=id,title:text,due::text,tags&id=gt.10&id=lt.5000&text=ilike.*caf%C3%A9*\
    &checkbox=is.false&due=gte.2026-01-01&due=not.is.null&created=lt.2026-06-01&id=in.(1,2,3,%224%22)\
    &order=due.desc.nullslast,id&limit=50&offset=100";

const TWO_EMBEDS: &str = "select=id,text,place!inner(name),step(name)&checkbox=is.false&place.name=eq.home\
    &step.order=name&step.limit=5&order=due.desc&limit=50";
