//! `date`, `time`, `timestamp` and `interval`: counts from 2000-01-01 to what `to_json` prints.

use super::{Refusal, fixed};

/// Appends a `date`: days since 2000-01-01.
pub(super) fn date(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let days = match i32::from_be_bytes(fixed(value)?) {
        i32::MAX => return infinity(out),
        i32::MIN => return minus_infinity(out),
        days => days,
    };
    let day = Day::new(days.into()).ok_or(Refusal::Malformed)?;
    day.open(out);
    day.close(out);
    Ok(())
}

/// Appends a `timestamp`: microseconds since 2000-01-01.
pub(super) fn timestamp(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    instant(i64::from_be_bytes(fixed(value)?), b"", out)
}

/// Appends a `timestamp with time zone`: microseconds since 2000-01-01 in UTC.
pub(super) fn timestamp_tz(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    instant(i64::from_be_bytes(fixed(value)?), b"+00:00", out)
}

fn instant(micros: i64, zone: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    match micros {
        i64::MAX => return infinity(out),
        i64::MIN => return minus_infinity(out),
        END_TIMESTAMP.. => return Err(Refusal::Malformed),
        _ => {}
    }
    let day = Day::new(micros.div_euclid(DAY)).ok_or(Refusal::Malformed)?;
    day.open(out);
    out.push(b'T');
    clock(micros.rem_euclid(DAY), out);
    out.extend_from_slice(zone);
    day.close(out);
    Ok(())
}

/// Appends a `time`: microseconds since midnight.
pub(super) fn time(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let micros = time_of_day(fixed(value)?)?;
    out.push(b'"');
    clock(micros, out);
    out.push(b'"');
    Ok(())
}

/// Appends a `time with time zone`: microseconds since midnight, then the zone in seconds west of Greenwich.
pub(super) fn time_tz(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (&time, zone) = value.split_first_chunk().ok_or(Refusal::Malformed)?;
    let micros = time_of_day(time)?;
    let west = i32::from_be_bytes(fixed(zone)?);
    let offset = west.unsigned_abs();
    if offset >= MAX_ZONE {
        return Err(Refusal::Malformed);
    }
    out.push(b'"');
    clock(micros, out);
    // Only as long as needed, unlike the zone of a timestamp: `to_json` has the XSD form for timestamps alone.
    out.push(if west > 0 { b'-' } else { b'+' });
    out.extend_from_slice(&two(offset / 3_600));
    let parts = [offset / 60 % 60, offset % 60];
    let shown = match parts {
        [0, 0] => 0,
        [_, 0] => 1,
        _ => 2,
    };
    for &part in &parts[..shown] {
        out.push(b':');
        out.extend_from_slice(&two(part));
    }
    out.push(b'"');
    Ok(())
}

/// Appends an `interval`: microseconds, days and months, each with its own sign, in the style `postgres`.
///
/// The two values that mean infinity from Postgres 17 on are infinite here; an older server prints them as 178 million
/// years.
pub(super) fn interval(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let (&micros, rest) = value.split_first_chunk().ok_or(Refusal::Malformed)?;
    let (&days, months) = rest.split_first_chunk().ok_or(Refusal::Malformed)?;
    let (micros, days, months) = (
        i64::from_be_bytes(micros),
        i32::from_be_bytes(days),
        i32::from_be_bytes(fixed(months)?),
    );
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return infinity(out),
        (i64::MIN, i32::MIN, i32::MIN) => return minus_infinity(out),
        _ => {}
    }
    out.push(b'"');
    let start = out.len();
    let mut after_negative = false;
    for (count, unit) in [(months / 12, " year"), (months % 12, " mon"), (days, " day")] {
        if count == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        // A plus only where the field before is negative.
        if after_negative && count > 0 {
            out.push(b'+');
        }
        after_negative = count < 0;
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        out.extend_from_slice(unit.as_bytes());
        if count != 1 {
            out.push(b's');
        }
    }
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        } else if after_negative {
            out.push(b'+');
        }
        let (hours, of_hour) = (micros.unsigned_abs() / HOUR.unsigned_abs(), micros % HOUR);
        if hours < 100 {
            clock(micros.abs(), out);
        } else {
            out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
            let zero_hours = out.len();
            clock(of_hour.abs(), out);
            out.drain(zero_hours..zero_hours + "00".len());
        }
    }
    out.push(b'"');
    Ok(())
}

fn infinity(out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.extend_from_slice(b"\"infinity\"");
    Ok(())
}

fn minus_infinity(out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.extend_from_slice(b"\"-infinity\"");
    Ok(())
}

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct Day {
    /// Astronomical: 0 is 1 BC, -1 is 2 BC.
    year: i32,
    month: u32,
    day: u32,
}

impl Day {
    /// The day `days` after 2000-01-01, `None` outside Postgres' calendar (4714-11-24 BC to 5874897-12-31).
    fn new(days: i64) -> Option<Self> {
        if !(FIRST_DAY..END_DAY).contains(&days) {
            return None;
        }
        // Days from the 1st of March of the year -5200 on: a leap day is the last of its year then, and nothing is
        // negative. 13 cycles of 400 years, and 730,425 days from March of the year 0 to January 2000.
        let days = u64::try_from(days + 13 * 146_097 + 730_425).ok()?;
        let (cycle, of_cycle) = (days / 146_097, days % 146_097);
        // Take the leap days out, then divide by 365.
        let year_of_cycle = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        // The months from March on have 31, 30, 31, 30, 31 days, again, and again: 153 days in five.
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Some(Self {
            year: (400 * cycle + year_of_cycle + next_year) as i32 - 13 * 400,
            month: month as u32,
            day: day as u32,
        })
    }

    /// Appends the quote and the day; without the era, which comes last.
    fn open(&self, out: &mut Vec<u8>) {
        // 1 BC is the year 0.
        let year = if self.year > 0 {
            self.year.unsigned_abs()
        } else {
            1 + self.year.unsigned_abs()
        };
        let ([m, n], [d, e]) = (two(self.month), two(self.day));
        if year < 10_000 {
            let ([y, z], [a, b]) = (two(year / 100), two(year % 100));
            out.extend_from_slice(&[b'"', y, z, a, b, b'-', m, n, b'-', d, e]);
        } else {
            out.push(b'"');
            out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
            out.extend_from_slice(&[b'-', m, n, b'-', d, e]);
        }
    }

    /// Appends the era, if it is not ours, and the quote.
    fn close(&self, out: &mut Vec<u8>) {
        if self.year <= 0 {
            out.extend_from_slice(b" BC");
        }
        out.push(b'"');
    }
}

/// A time of day in microseconds, midnight at either end.
fn time_of_day(value: [u8; 8]) -> Result<i64, Refusal> {
    let micros = i64::from_be_bytes(value);
    if (0..=DAY).contains(&micros) {
        Ok(micros)
    } else {
        Err(Refusal::Malformed)
    }
}

/// Appends `12:30:00.5` for less than 100 hours; as many digits of the fraction as it has.
fn clock(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = ((micros / SECOND) as u32, (micros % SECOND) as u32);
    let ([h, i], [m, n], [s, t]) = (two(seconds / 3_600), two(seconds / 60 % 60), two(seconds % 60));
    out.extend_from_slice(&[h, i, b':', m, n, b':', s, t]);
    if fraction > 0 {
        let ([a, b], [c, d], [e, f]) = (two(fraction / 10_000), two(fraction / 100 % 100), two(fraction % 100));
        let digits = [b'.', a, b, c, d, e, f];
        let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
        out.extend_from_slice(&digits[..digits.len() - zeros]);
    }
}

/// The two digits of a number below 100.
fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Microseconds.
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// The ends of the calendar, in days and microseconds from 2000-01-01: `datatype/timestamp.h`.
const FIRST_DAY: i64 = -2_451_545;
const END_DAY: i64 = 2_147_483_494 - 2_451_545;
const END_TIMESTAMP: i64 = 9_223_371_331_200_000_000;

/// Zones are less than 16 hours from Greenwich: `MAX_TZDISP_HOUR`, in seconds.
const MAX_ZONE: u32 = 16 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_follows_the_one_before() {
        let leap = |year: i32| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut expected = Day {
            year: -4713,
            month: 11,
            day: 24,
        };
        for days in FIRST_DAY..FIRST_DAY + 5_000_000 {
            assert_eq!(Day::new(days), Some(Day { ..expected }));
            let length = match expected.month {
                2 => 28 + u32::from(leap(expected.year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match expected {
                Day {
                    year,
                    month: 12,
                    day: 31,
                } => Day {
                    year: year + 1,
                    month: 1,
                    day: 1,
                },
                Day { year, month, day } if day == length => Day {
                    year,
                    month: month + 1,
                    day: 1,
                },
                Day { year, month, day } => Day {
                    year,
                    month,
                    day: day + 1,
                },
            };
        }
        assert_eq!(
            Day::new(END_DAY - 1),
            Some(Day {
                year: 5_874_897,
                month: 12,
                day: 31
            })
        );
    }

    #[test]
    fn days_outside_the_calendar_are_none() {
        assert_eq!(Day::new(FIRST_DAY - 1), None);
        assert_eq!(Day::new(END_DAY), None);
        assert_eq!(Day::new(i64::MIN), None);
        assert_eq!(Day::new(i64::MAX), None);
    }
}
