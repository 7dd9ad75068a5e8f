//! The encoder against the server it imitates: `to_json` and `row_to_json` of a real Postgres decide what is right.

#![expect(clippy::expect_used, clippy::panic, reason = "a failure here is a failed test")]

use std::error::Error;
use std::fmt::Write;

use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::support;

use rowhouse::encode::{Column, Encoding, JsonRows};

/// Every type of [`Encoding::of_type`]: literals at the edges, then `RANDOM` values of an SQL expression.
#[tokio::test]
async fn every_type_encodes_as_to_json() {
    let postgres = support::Cluster::start();
    let client = postgres.superuser("postgres").await;
    client.batch_execute(SESSION).await.expect("the settings exist");

    for (name, literals, random) in TYPES {
        let edges = literals.iter().fold(String::from("SELECT NULL"), |mut edges, literal| {
            write!(edges, " UNION ALL SELECT {name} {literal}").expect("a string takes everything");
            edges
        });
        let statement = format!(
            "WITH samples(v) AS ({edges} UNION ALL SELECT ({random})::{name} FROM generate_series(1, {RANDOM}) AS i)
             SELECT v, to_json(v)::text, row_to_json(samples)::text FROM samples"
        );
        check(&client, name, None, &statement, &[]).await;
    }
}

/// Random bits reach floats that no SQL expression does, and the neighbourhood of every power of two is where shortest
/// digits go wrong.
#[tokio::test]
async fn floats_of_any_bits_encode_as_to_json() {
    let postgres = support::Cluster::start();
    let client = postgres.superuser("postgres").await;
    client.batch_execute(SESSION).await.expect("the settings exist");
    let mut random = SplitMix(7);

    let near_powers =
        (0..0x7ff_u64).flat_map(|exponent| (0..6).map(move |step| (exponent << 52).wrapping_add(step).wrapping_sub(3)));
    // Multiples of a quarter where a quarter is the last bit: each is as near to the tenth above as to the tenth below.
    let quarters = (0..2_000).map(|step| (1_125_899_906_842_624.0 + f64::from(step) * 0.25).to_bits());
    // Few digits and many zeros: some are half-way between two floats.
    let decimals = (-323..309).flat_map(|exponent| {
        (1..100).map(move |digits| {
            format!("{digits}e{}", exponent - 1)
                .parse::<f64>()
                .expect("is a float")
                .to_bits()
        })
    });
    let bits = near_powers
        .chain(quarters)
        .chain(decimals)
        .chain((0..20_000).map(|_| random.next()));
    let values: Vec<f64> = bits.map(f64::from_bits).collect();
    check(&client, "float8", None, FLOATS, &[&values]).await;

    let near_powers =
        (0..0xff_u32).flat_map(|exponent| (0..6).map(move |step| (exponent << 23).wrapping_add(step).wrapping_sub(3)));
    let quarters = (0..2_000_u16).map(|step| (2_097_152.0 + f32::from(step) * 0.25).to_bits());
    let decimals = (-45..39).flat_map(|exponent| {
        (1..100).map(move |digits| {
            format!("{digits}e{}", exponent - 1)
                .parse::<f32>()
                .expect("is a float")
                .to_bits()
        })
    });
    let bits = near_powers
        .chain(quarters)
        .chain(decimals)
        .chain((0..20_000).map(|_| (random.next() >> 32) as u32));
    let values: Vec<f32> = bits.map(f32::from_bits).collect();
    check(&client, "float4", None, &FLOATS.replace("float8", "float4"), &[&values]).await;
}

#[tokio::test]
async fn enums_encode_as_text_and_domains_as_their_base_type() {
    let postgres = support::Cluster::start();
    let client = postgres.superuser("postgres").await;
    let setup = r#"CREATE TYPE pg_temp.mood AS ENUM ('sad', 'so "so"', 'très bien');
        CREATE DOMAIN pg_temp.percent AS int4 CHECK (VALUE BETWEEN 0 AND 100)"#;
    client.batch_execute(setup).await.expect("the types are new");

    let enums = "WITH samples(v) AS (SELECT unnest(enum_range(NULL::pg_temp.mood)))
        SELECT v, to_json(v)::text, row_to_json(samples)::text FROM samples";
    check(&client, "an enum", Some(Encoding::Text), enums, &[]).await;
    let domain = "WITH samples(v) AS (SELECT i::pg_temp.percent FROM generate_series(0, 100) AS i)
        SELECT v, to_json(v)::text, row_to_json(samples)::text FROM samples";
    check(&client, "a domain", None, domain, &[]).await;
}

/// Runs a statement that returns a value, its `to_json` and its row's `row_to_json`, and compares.
async fn check(client: &Client, name: &str, known: Option<Encoding>, statement: &str, params: &[&(dyn ToSql + Sync)]) {
    let rows = client
        .query(statement, params)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(!rows.is_empty(), "{name}: nothing to compare");
    let oid = rows[0].columns()[0].type_().oid();
    let encoding = known
        .or_else(|| Encoding::of_type(oid))
        .unwrap_or_else(|| panic!("{name}: type {oid} has no encoding"));
    let columns = [Column::new("v", encoding)];

    let mut all = JsonRows::new(columns.clone().into(), 0);
    let mut expected_rows = Vec::with_capacity(rows.len());
    for row in &rows {
        let expected = row.get::<_, Option<&str>>(1).unwrap_or("null");
        let mut one = JsonRows::new(columns.clone().into(), 0);
        one.row([raw(row)])
            .unwrap_or_else(|error| panic!("{name}: {error}, expected {expected}"));
        let found = one.finish();
        assert_eq!(
            str::from_utf8(&found),
            Ok(&*format!("[{{\"v\":{expected}}}]")),
            "{name}"
        );
        all.row([raw(row)]).expect("it has worked once");
        expected_rows.push(row.get::<_, &str>(2));
    }
    assert_eq!(all.rows(), rows.len() as u64);
    assert!(
        all.finish() == format!("[{}]", expected_rows.join(",")),
        "{name}: the rows are right, the array is not"
    );
}

fn raw(row: &Row) -> Option<&[u8]> {
    row.get::<_, Option<Raw<'_>>>(0).map(|Raw(value)| value)
}

/// A value as it came over the wire.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Random bits that are the same in every run: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// What the encoder promises to print alike; `setseed` makes every run the same.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; RESET extra_float_digits; SELECT setseed(0.25)";

const FLOATS: &str = "WITH samples(v) AS (SELECT unnest($1::float8[]))
    SELECT v, to_json(v)::text, row_to_json(samples)::text FROM samples";

const RANDOM: usize = 500;

/// Up to 40 characters, among them every one that JSON escapes, accents, and some beyond 16 bits.
const TEXT: &str = r#"SELECT string_agg(CASE (random() * 9)::int
        WHEN 0 THEN chr(1 + (random() * 30)::int) WHEN 1 THEN '"' WHEN 2 THEN '\' WHEN 3 THEN chr(128512 + (random() * 79)::int)
        WHEN 4 THEN chr(192 + (random() * 500)::int) ELSE chr(32 + (random() * 95)::int) END, '')
    FROM generate_series(1, (random() * 40)::int + i - i)"#;

const TIMESTAMP: &str = "'2000-01-01'::timestamp + (random() - 0.02) * interval '290000 years' * (i % 2)
    + (random() - 0.5) * interval '90 years' * ((i + 1) % 2)";

/// A type, literals at its edges, and an expression for a random value in which `i` counts from 1.
type Samples = (&'static str, &'static [&'static str], &'static str);

#[rustfmt::skip] // as a table: one literal per line would be ten times as long
const TYPES: &[Samples] = &[
    ("bool", &["'true'", "'false'"], "random() < 0.5"),
    ("int2", &["'0'", "'-32768'", "'32767'"], "(random() * 65535)::int - 32768"),
    ("int4", &["'0'", "'-2147483648'", "'2147483647'"], "floor((random() - 0.5) * 4294967295)"),
    ("int8", &["'0'", "'-9223372036854775808'", "'9223372036854775807'", "'9007199254740993'"],
        "trunc((random() - 0.5)::numeric * 10::numeric ^ (i % 19))"),
    ("oid", &["'0'", "'4294967295'"], "floor(random() * 4294967295)::int8"),
    ("float4", &["'NaN'", "'Infinity'", "'-Infinity'", "'0'", "'-0'", "'1e-45'", "'3.4028235e38'", "'1.1754944e-38'",
        "'100000'", "'999999'", "'1e6'", "'1234567'", "'0.0001'", "'0.00001'", "'1e20'", "'1e-5'", "'2097152.25'",
        "'33554432'", "'0.1'", "'-1.5'"],
        "(random() - 0.5) * 10 ^ ((random() - 0.5) * 70)::int"),
    ("float8", &["'NaN'", "'Infinity'", "'-Infinity'", "'0'", "'-0'", "'5e-324'", "'1.7976931348623157e308'", "'1e23'",
        "'1e14'", "'1e15'", "'999999999999999'", "'123456789012345678'", "'0.0001'", "'0.00001'", "'1e20'", "'1e-5'",
        "'1e100'", "'9007199254740993'", "'1125899906842624.25'", "'5.684341886080802e-14'", "'0.1'", "'100'", "'-1.5'"],
        "(random() - 0.5) * 10 ^ ((random() - 0.5) * 600)::int"),
    ("numeric", &["'NaN'", "'Infinity'", "'-Infinity'", "'0'", "'0.000'", "'-0.0'", "'1'", "'10000'", "'100000000'",
        "'1.50'", "'0.1'", "'0.0001'", "'0.00001'", "'0.00000000012'", "'-12345678.9'", "'-0.00012'", "'10000.00010000'",
        "'99999999999999999999999999999999.999999999999'", "'1e1000'", "'1e131071'", "'1e-16383'", "'-1e-1000'"],
        "round((random() - 0.5)::numeric * 10::numeric ^ (random() * 60 - 20)::int, (random() * 30)::int)"),
    ("text", &["''", "'plain'", r#"'say "hi"'"#, r"'a\b'", "'</script>'", r"E'\b\f\n\r\t'", r"E'\x01\x1f\x7f'", "'ünïcödé'",
        "'日本語'", "'🦀'", "'\u{2028}'", "'1234567\"'", "'12345678\"'", "'123456789012345\"'", "'1234567890123456\"'",
        "'12345678901234567\"'", "'123456789012345678901234567890\"1\\'", "'éééééééé\"'"],
        TEXT),
    ("varchar", &["''", "'short'", "E'a\\tb'"], "repeat(md5(i::text), i % 40)"),
    ("varchar(20)", &["'exactly twenty chars'"], "md5(i::text)"),
    ("char(9)", &["''", "'padded'", r"E'\n'"], "left(md5(i::text), i % 10)"),
    ("name", &["''", "'pg_class'", "'naïve \"name\"'"], "md5(random()::text)"),
    ("bytea", &["''", r"'\x00ff5c22'"], "decode(repeat(md5(random()::text), i % 5), 'hex')"),
    ("uuid", &["'00000000-0000-0000-0000-000000000000'", "'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'"], "md5(random()::text)"),
    ("date", &["'infinity'", "'-infinity'", "'2000-01-01'", "'1999-12-31'", "'2024-02-29'", "'1900-02-28'", "'1900-03-01'",
        "'0001-01-01'", "'0001-12-31 BC'", "'0001-02-29 BC'", "'0044-03-15 BC'", "'4713-01-01 BC'", "'4714-11-24 BC'",
        "'9999-12-31'", "'10000-01-01'", "'5874897-12-31'"],
        "'2000-01-01'::date + (CASE i % 2 WHEN 0 THEN (random() - 0.1) * 2e7 ELSE (random() - 0.5) * 1e5 END)::int"),
    ("time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'", "'12:00:00.1'", "'12:00:00.000001'", "'01:02:03.040500'"],
        "'00:00'::time + random() * interval '1 day'"),
    ("timetz", &["'00:00+00'", "'24:00:00-15:59:59'", "'24:00:00+15:59:59'", "'12:00:00.5+05:30'", "'12:00-03:30'",
        "'12:00+00:00:01'", "'12:00-00:00:01'", "'12:00+01:00:01'", "'12:00-08'"],
        "('00:00'::time + random() * interval '1 day')::text || to_char((random() * 24)::int - 12, 'SG00') || ':30'"),
    ("timestamp", &["'infinity'", "'-infinity'", "'2000-01-01'", "'1999-12-31 23:59:59.999999'", "'1970-01-01 00:00:00.000001'",
        "'0001-01-01 12:00 BC'", "'4714-11-24 BC'", "'294276-12-31 23:59:59.999999'", "'10000-01-01'", "'2024-02-29 12:30:00.50'"],
        TIMESTAMP),
    ("timestamptz", &["'infinity'", "'-infinity'", "'2000-01-01+00'", "'1999-12-31 23:59:59.999999+00'", "'2024-07-01 12:00+02'",
        "'0001-01-01 12:00+00 BC'", "'4714-11-24 00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'", "'10000-01-01+00'"],
        TIMESTAMP),
    ("interval", &["'0'", "'1 year'", "'-1 year'", "'2 years 1 mon'", "'1 mon'", "'-1 mon'", "'1 day'", "'-1 day'", "'13 mons'",
        "'-1 mon +3 days -00:00:01.5'", "'1 mon -1 day +01:00'", "'-1 year 2 mons'", "'-1 year 2 days'", "'1 day -00:00:00.000001'",
        "'-00:00:00.1'", "'99:59:59.999999'", "'100:00:00'", "'-100:00:00.5'", "'2562047788:00:54.775807'",
        "'178956970 years 7 mons 2147483647 days'", "'-178956970 years -8 mons -2147483648 days'"],
        "make_interval(0, ((random() - 0.5) * 40)::int * (i % 2), 0, ((random() - 0.5) * 9)::int * (i % 3), 0, 0,
            (random() - 0.5) * 10 ^ (i % 8) * (i % 4))"),
    ("json", &["'null'", r#"' { "a" : [1, 2.50, "\u00e9"] } '"#, "'\"é\"'", "'[]'", "'1e5'"],
        "json_build_object('i', i, 'text', md5(i::text), 'list', array[i, -i])"),
    ("jsonb", &["'null'", r#"' { "a" : [1, 2.50, "\u00e9"] } '"#, "'\"é\"'", "'[]'", "'1e5'"],
        "jsonb_build_object('i', i, 'text', md5(i::text), 'list', array[i, -i])"),
];
