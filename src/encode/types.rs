//! One arm per Postgres type.

use std::str;

use super::{Refusal, datetime, fixed, float, json, numeric};

/// How one column's binary value becomes JSON.
///
/// Enums have no OID of their own in [`of_type`](Self::of_type), but their binary format is the label: a planner that
/// knows a column's type to be an enum may use [`Text`](Self::Text). Domains arrive as their base type's OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `boolean`: `true` or `false`.
    Bool,
    /// `smallint`: a number.
    Int2,
    /// `integer`: a number.
    Int4,
    /// `bigint`: a number with all its digits, also above 2^53.
    Int8,
    /// `oid`: a string of digits, because `to_json` does not count it among the numbers.
    Oid,
    /// `real`: a number; NaN and the infinities are the strings `NaN`, `Infinity`, `-Infinity`.
    Float4,
    /// `double precision`: as [`Float4`](Self::Float4).
    Float8,
    /// `numeric`: a number with all its digits and its scale; NaN and the infinities as with [`Float4`](Self::Float4).
    Numeric,
    /// `text`, `varchar`, `char(n)` with its padding, `name`, and string literals without a type: a string.
    Text,
    /// `bytea`: a string, `\x` and hexadecimal digits.
    Bytea,
    /// `uuid`: a string, lower case.
    Uuid,
    /// `date`: a string, `2024-02-29`, `0044-03-15 BC` or `infinity`.
    Date,
    /// `time`: a string, `12:30:00.5`, up to and including `24:00:00`.
    Time,
    /// `time with time zone`: a string, `12:30:00+02`.
    TimeTz,
    /// `timestamp`: a string, `2024-02-29T12:30:00.5`, ending in ` BC` if so, or `infinity`.
    Timestamp,
    /// `timestamp with time zone`: as [`Timestamp`](Self::Timestamp), in UTC, with `+00:00`.
    TimestampTz,
    /// `interval`: a string, `1 year 2 mons -3 days +04:05:06`.
    Interval,
    /// `json`: copied as it is, white space and all.
    Json,
    /// `jsonb`: copied without its version byte.
    Jsonb,
}

impl Encoding {
    /// The encoding of a type by its OID in `pg_type`, which is fixed for built-in types (`pg_type.dat`).
    ///
    /// `None`: the planner must wrap the column in `to_json(...)`, whose `json` result passes verbatim. That holds
    /// for arrays, composites, ranges, and for types whose text depends on the server's version or locale (`"char"`,
    /// `money`).
    pub const fn of_type(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            19 => Self::Text, // name
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 => Self::Text,
            26 => Self::Oid,
            114 => Self::Json,
            700 => Self::Float4,
            701 => Self::Float8,
            705 => Self::Text,  // unknown
            1042 => Self::Text, // bpchar, the type of char(n)
            1043 => Self::Text, // varchar
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            1186 => Self::Interval,
            1266 => Self::TimeTz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => return None,
        })
    }

    /// Appends the JSON of one value that is not NULL. On a refusal `out` may end in half a value.
    #[inline]
    pub(super) fn append(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Self::Bool => boolean(value, out),
            Self::Int2 => integer(i16::from_be_bytes(fixed(value)?), out),
            Self::Int4 => integer(i32::from_be_bytes(fixed(value)?), out),
            Self::Int8 => integer(i64::from_be_bytes(fixed(value)?), out),
            Self::Oid => oid(value, out),
            Self::Float4 => float::float4(value, out),
            Self::Float8 => float::float8(value, out),
            Self::Numeric => numeric::numeric(value, out),
            Self::Text => text(value, out),
            Self::Bytea => bytea(value, out),
            Self::Uuid => uuid(value, out),
            Self::Date => datetime::date(value, out),
            Self::Time => datetime::time(value, out),
            Self::TimeTz => datetime::time_tz(value, out),
            Self::Timestamp => datetime::timestamp(value, out),
            Self::TimestampTz => datetime::timestamp_tz(value, out),
            Self::Interval => datetime::interval(value, out),
            Self::Json => verbatim(value, out),
            Self::Jsonb => jsonb(value, out),
        }
    }
}

fn boolean(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    match value {
        [0] => out.extend_from_slice(b"false"),
        [1] => out.extend_from_slice(b"true"),
        _ => return Err(Refusal::Malformed),
    }
    Ok(())
}

fn integer(number: impl itoa::Integer, out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    Ok(())
}

fn oid(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.push(b'"');
    integer(u32::from_be_bytes(fixed(value)?), out)?;
    out.push(b'"');
    Ok(())
}

fn text(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    json::string(utf8(value)?, out);
    Ok(())
}

fn bytea(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.reserve(r#""\\x""#.len() + 2 * value.len());
    out.extend_from_slice(br#""\\x"#);
    out.extend(value.iter().flat_map(|&byte| hex(byte)));
    out.push(b'"');
    Ok(())
}

fn uuid(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let bytes: [u8; 16] = fixed(value)?;
    let mut text = *br#""00000000-0000-0000-0000-000000000000""#;
    for (byte, at) in bytes.into_iter().zip(UUID_DIGITS) {
        let [high, low] = hex(byte);
        text[at] = high;
        text[at + 1] = low;
    }
    out.extend_from_slice(&text);
    Ok(())
}

/// The server has checked that the text is JSON. That it is UTF-8 depends on the session, so it is checked here.
fn verbatim(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = utf8(value)?;
    if text.is_empty() {
        return Err(Refusal::Malformed);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn jsonb(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    match value {
        // `jsonb_send`: the version, then the text.
        [1, text @ ..] => verbatim(text, out),
        _ => Err(Refusal::Malformed),
    }
}

#[inline]
fn utf8(value: &[u8]) -> Result<&str, Refusal> {
    str::from_utf8(value).map_err(|_| Refusal::Utf8)
}

/// The two lower-case hexadecimal digits of a byte.
pub(super) fn hex(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]]
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Where the two digits of each byte go: RFC 9562, section 4, one further for the quote.
const UUID_DIGITS: [usize; 16] = [1, 3, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29, 31, 33, 35];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_an_encoding_are_left_to_to_json() {
        // "char", int4[], text[], record, money, inet, int4range, point, xml, tsvector, and what nobody has defined.
        for oid in [18, 1007, 1009, 2249, 790, 869, 3904, 600, 142, 3614, 0, u32::MAX] {
            assert_eq!(Encoding::of_type(oid), None, "{oid}");
        }
    }

    #[test]
    fn json_of_another_version_is_refused() {
        let mut out = Vec::new();
        assert_eq!(Encoding::Jsonb.append(b"\x02{}", &mut out), Err(Refusal::Malformed));
        assert_eq!(Encoding::Jsonb.append(b"\x01", &mut out), Err(Refusal::Malformed));
        assert_eq!(Encoding::Json.append(b"", &mut out), Err(Refusal::Malformed));
        assert_eq!(Encoding::Json.append(b"\"\xff\"", &mut out), Err(Refusal::Utf8));
        assert_eq!(out, b"");
    }
}
