//! The types that values are cast to.

use std::borrow::Cow;

use crate::catalog::Catalog;

use super::Error;

/// A type that a value is cast to.
#[derive(Clone)]
pub(super) struct Cast<'c> {
    /// As SQL: of a fixed list, or a type that the catalog names.
    pub(super) name: Cow<'c, str>,
    /// The OID of a built-in type, otherwise 0.
    pub(super) oid: u32,
}

impl Cast<'_> {
    /// Whether the type is the tenant's own, whose casts may be functions of the tenant's own.
    pub(super) fn is_own(&self) -> bool {
        self.oid == 0
    }
}

/// What a client calls a type never becomes SQL text, so a cast is one of a list, or a type of some column.
pub(super) fn cast_to<'c>(name: &str, catalog: &'c Catalog) -> Result<Cast<'c>, Error> {
    if let Some((name, oid)) = BUILT_IN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok(Cast {
            name: Cow::Borrowed(name),
            oid: *oid,
        });
    }
    let columns = catalog.relations().iter().flat_map(|relation| &relation.columns);
    let mut named = columns.flat_map(|column| [&column.type_name, &column.base_type]);
    match named.find(|known| known.trim_matches('"') == name) {
        Some(known) => Ok(Cast {
            name: Cow::Borrowed(known),
            oid: 0,
        }),
        None => Err(Error::Type(name.to_owned())),
    }
}

/// The built-in types that values are cast to, with their OIDs (`pg_type.dat`).
const BUILT_IN: &[(&str, u32)] = &[
    ("text", 25),
    ("varchar", 1043),
    ("character varying", 1043),
    ("bpchar", 1042),
    ("char", 1042),
    ("character", 1042),
    ("name", 19),
    ("bool", 16),
    ("boolean", 16),
    ("int2", 21),
    ("smallint", 21),
    ("int4", 23),
    ("int", 23),
    ("integer", 23),
    ("int8", 20),
    ("bigint", 20),
    ("oid", 26),
    ("float4", 700),
    ("real", 700),
    ("float8", 701),
    ("double precision", 701),
    ("numeric", 1700),
    ("decimal", 1700),
    ("money", 790),
    ("date", 1082),
    ("time", 1083),
    ("time without time zone", 1083),
    ("timetz", 1266),
    ("time with time zone", 1266),
    ("timestamp", 1114),
    ("timestamp without time zone", 1114),
    ("timestamptz", 1184),
    ("timestamp with time zone", 1184),
    ("interval", 1186),
    ("uuid", 2950),
    ("json", 114),
    ("jsonb", 3802),
    ("bytea", 17),
    ("inet", 869),
    ("cidr", 650),
    ("macaddr", 829),
    ("xml", 142),
    ("tsvector", 3614),
    ("tsquery", 3615),
    // Arrays by the names that need no brackets.
    ("_bool", 1000),
    ("_int2", 1005),
    ("_int4", 1007),
    ("_int8", 1016),
    ("_float4", 1021),
    ("_float8", 1022),
    ("_numeric", 1231),
    ("_text", 1009),
    ("_varchar", 1015),
    ("_uuid", 2951),
    ("_date", 1182),
    ("_timestamp", 1115),
    ("_timestamptz", 1185),
    ("_json", 199),
    ("_jsonb", 3807),
];
