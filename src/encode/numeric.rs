//! `numeric`: decimal digits in groups of four, so that no digit is ever lost to a float.

use super::Refusal;

/// Appends a `numeric` as Postgres' `numeric_out` prints it: all digits before the point, `dscale` digits after it,
/// never an exponent.
///
/// The binary format (`numeric_send`): number of groups, weight of the first group as a power of 10,000, sign, digits
/// after the point, then the groups, each 16 bits.
pub(super) fn numeric(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (&header, body) = value.split_first_chunk::<8>().ok_or(Refusal::Malformed)?;
    let [count, weight, sign, scale] = halves(header);
    let (groups, []) = body.as_chunks::<2>() else {
        return Err(Refusal::Malformed);
    };
    if groups.len() != usize::from(count) || scale > MAX_SCALE || groups.iter().any(|&group| value_of(group) > 9_999) {
        return Err(Refusal::Malformed);
    }
    match sign {
        POSITIVE => {}
        NEGATIVE => out.push(b'-'),
        NAN => return literal(b"\"NaN\"", groups, out),
        INFINITY => return literal(b"\"Infinity\"", groups, out),
        NEGATIVE_INFINITY => return literal(b"\"-Infinity\"", groups, out),
        _ => return Err(Refusal::Malformed),
    }

    // Leading groups of zero do not come from a server, but printed they would not be JSON.
    let zeros = groups.iter().take_while(|&&group| value_of(group) == 0).count();
    let groups = &groups[zeros..];
    let weight = i32::from(weight.cast_signed()) - i32::from(u16::try_from(zeros).unwrap_or(u16::MAX));

    whole(groups, weight, out);
    if scale > 0 {
        out.push(b'.');
        fraction(groups, weight, scale.into(), out);
    }
    Ok(())
}

/// Groups of weight 0 and more. Those the server left out at the end are zero.
fn whole(groups: &[[u8; 2]], weight: i32, out: &mut Vec<u8>) {
    let (Some(&first), Ok(more)) = (groups.first(), usize::try_from(weight)) else {
        out.push(b'0');
        return;
    };
    out.extend_from_slice(itoa::Buffer::new().format(value_of(first)).as_bytes());
    for index in 1..=more {
        out.extend_from_slice(&digits(groups.get(index).copied().unwrap_or_default()));
    }
}

/// `scale` digits of the groups below weight 0. Those left out on either side are zero.
fn fraction(groups: &[[u8; 2]], weight: i32, scale: usize, out: &mut Vec<u8>) {
    let end = out.len() + scale;
    let mut index = weight + 1;
    while out.len() < end {
        let group = usize::try_from(index).ok().and_then(|index| groups.get(index));
        out.extend_from_slice(&digits(group.copied().unwrap_or_default()));
        index += 1;
    }
    out.truncate(end);
}

fn literal(text: &[u8], groups: &[[u8; 2]], out: &mut Vec<u8>) -> Result<(), Refusal> {
    if !groups.is_empty() {
        return Err(Refusal::Malformed);
    }
    out.extend_from_slice(text);
    Ok(())
}

fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> [u16; 4] {
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes)
}

fn value_of(group: [u8; 2]) -> u16 {
    u16::from_be_bytes(group)
}

/// The four digits of a group that is at most 9,999.
fn digits(group: [u8; 2]) -> [u8; 4] {
    let number = value_of(group);
    [number / 1_000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit.to_le_bytes()[0])
}

/// Signs and the largest scale, from `numeric.c`.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
const MAX_SCALE: u16 = 0x3FFF;
