//! Plans of reads by what they ask for, so that a request that differs from an earlier one in its values alone is not
//! planned again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::catalog::Relation;

use super::plan::{Context, Delivery};
use super::request::Range;
use super::{Count, Error, Plan, Query, plan};

/// Plans remembered, those of all tenants together: alike tenants share theirs. One takes some 2 KiB.
const REMEMBERED: usize = 4096;

/// Plans of reads, shared by all tenants whose catalogs are one.
pub struct Plans(Cache<Key, Arc<Plan>>);

/// All that a plan depends on but for the values.
#[derive(Clone, Eq, PartialEq)]
struct Key {
    relation: Box<str>,
    options: Options,
    normalized: Box<str>,
}

/// A [`Key`] that owns nothing.
struct Sought<'a> {
    relation: &'a str,
    options: Options,
    normalized: &'a str,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Options {
    /// The number of the catalog, which no other has.
    catalog: u64,
    max_rows: Option<u64>,
    aggregates: bool,
    legacy_names: bool,
    zoned: bool,
    count: Option<Count>,
    delivery: Form,
    range: Range,
}

/// The deliveries whose plans are remembered: those that need nothing of the catalog beyond the relation.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Form {
    Json,
    Stripped,
    Text,
    Number,
}

impl Default for Plans {
    fn default() -> Self {
        Self::new()
    }
}

impl Plans {
    /// No plan yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// The plan of a read: remembered, or made now. `catalog` is the number of `context`'s catalog.
    ///
    /// # Errors
    ///
    /// Those of [`plan::read`], which are not remembered.
    pub fn read(
        &self,
        context: &Context<'_>,
        catalog: u64,
        query: &Query,
        relation: &Relation,
        delivery: Delivery<'_>,
        count: Option<Count>,
    ) -> Result<Arc<Plan>, Error> {
        let form = match delivery {
            Delivery::Json => Form::Json,
            Delivery::Stripped => Form::Stripped,
            Delivery::Text => Form::Text,
            Delivery::Number => Form::Number,
            Delivery::GeoJson | Delivery::Custom(_) | Delivery::Explained(_) => {
                return plan::read(context, query, relation, delivery, count).map(Arc::new);
            }
        };
        let sought = Sought {
            relation: &relation.name,
            options: Options {
                catalog,
                max_rows: context.max_rows,
                aggregates: context.aggregates,
                legacy_names: context.legacy_names,
                zoned: context.zoned,
                count,
                delivery: form,
                range: query.range,
            },
            normalized: &query.normalized,
        };
        if let Some(plan) = self.0.get(&sought) {
            return Ok(plan);
        }
        let plan = Arc::new(plan::read(context, query, relation, delivery, count)?);
        let key = Key {
            relation: sought.relation.into(),
            options: sought.options,
            normalized: sought.normalized.into(),
        };
        self.0.insert(key, Arc::clone(&plan));
        Ok(plan)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.relation, self.options, &self.normalized, state);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.relation, self.options, self.normalized, state);
    }
}

fn hash<H: Hasher>(relation: &str, options: Options, normalized: &str, state: &mut H) {
    relation.hash(state);
    options.hash(state);
    normalized.hash(state);
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.relation == *key.relation && self.options == key.options && *self.normalized == *key.normalized
    }
}

impl std::fmt::Debug for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plans").field("remembered", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::query::Purpose;
    use crate::query::tests::catalog;

    use super::*;

    /// The text without values, the values and the parameters; and what is percent-encoded is decoded first.
    #[test]
    fn a_remembered_plan_takes_three_allocations() {
        let catalog = catalog();
        let context = Context {
            catalog: &catalog,
            schema: "acme",
            max_rows: Some(1000),
            aggregates: false,
            legacy_names: true,
            zoned: false,
        };
        let relation = plan::relation(&context, "mylist").unwrap();
        let plans = Plans::new();
        let again = |query_string: &str| {
            let query = Query::parse(query_string, Purpose::Relation).unwrap();
            let plan = plans.read(&context, 1, &query, relation, Delivery::Json, None).unwrap();
            assert!(!plan.params(&query, None).is_empty());
        };
        for (query_string, most) in [
            ("id=eq.1", 3),
            (
                "select=*,place(name)&text=like.a*&id=in.(1,2)&or=(id.gt.1,checkbox.is.true)&order=due.desc&limit=5",
                3,
            ),
            (
                "text=eq.caf%C3%A9&id=gt.1&id=lt.9&due=gte.2026-01-01&due=not.is.null&limit=10&offset=20",
                4,
            ),
        ] {
            again(query_string);
            let counted = allocation_counter::measure(|| again(query_string));
            assert!(counted.count_total <= most, "{query_string}: {}", counted.count_total);
        }
    }

    #[test]
    fn values_share_a_plan_and_nothing_else_does() {
        let catalog = catalog();
        let plans = Plans::new();
        let context = Context {
            catalog: &catalog,
            schema: "acme",
            max_rows: Some(1000),
            aggregates: false,
            legacy_names: true,
            zoned: false,
        };
        let plan_in = |context: &Context<'_>, number: u64, query: &str, delivery: Delivery<'_>| {
            let query = Query::parse(query, Purpose::Relation).unwrap();
            let relation = plan::relation(context, "mylist").unwrap();
            let plan = plans.read(context, number, &query, relation, delivery, None).unwrap();
            let params = plan.params(&query, None);
            let params: Vec<_> = params.into_iter().map(|param| param.unwrap().into_owned()).collect();
            (plan, params)
        };
        let plan = |query: &str| plan_in(&context, 1, query, Delivery::Json);
        let (first, params) = plan("id=eq.1&text=like.a*&limit=5");
        assert_eq!(params, ["1", "a%", "5"]);
        let (same, params) = plan("id=eq.2&text=like.b*&limit=2000");
        assert!(Arc::ptr_eq(&first, &same));
        assert_eq!(params, ["2", "b%", "1000"]);
        for other in [
            "id=gt.1&text=like.a*&limit=5",
            "id=eq.1&text=like.a*",
            "id=eq.1&text=like.a*&limit=5&select=id",
            "id=eq.1&limit=5&text=like.a*",
            "id=eq.1&text=like.a*&offset=5",
            "id=eq.1&text=ilike.a*&limit=5",
            "id=not.eq.1&text=like.a*&limit=5",
            "and=(id.eq.1)&text=like.a*&limit=5",
        ] {
            assert!(!Arc::ptr_eq(&first, &plan(other).0), "{other}");
        }
        let query = "id=eq.1&text=like.a*&limit=5";
        assert!(!Arc::ptr_eq(&first, &plan_in(&context, 2, query, Delivery::Json).0));
        assert!(!Arc::ptr_eq(&first, &plan_in(&context, 1, query, Delivery::Text).0));
        let zoned = Context { zoned: true, ..context };
        assert!(!Arc::ptr_eq(&first, &plan_in(&zoned, 1, query, Delivery::Json).0));
    }
}
