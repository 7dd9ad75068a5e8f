//! `float4` and `float8`: Postgres' shortest digits, which are not quite everyone else's.
//!
//! Both Postgres and `std` print the fewest digits that read back as the same float, but they part in two corners:
//!
//! - A decimal exactly half-way between two floats reads back as the even one. `std` uses that (`1e23`); Postgres
//!   wants a decimal strictly nearer to its float than to any other (`9.999999999999999e+22`).
//! - Of two shortest decimals equally near, `std` takes the upper (`2097152.3`), Postgres the even one (`2097152.2`).
//!
//! So `std` does the work, and its answer is put right in those corners. Telling whether a decimal is in one is
//! cheap: its power of two has to match first, which it seldom does.

use std::fmt::{self, LowerExp, Write};

use super::{Refusal, fixed};

/// Appends a `float8`; with an exponent from 1e15 up and below 1e-4.
pub(super) fn float8(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let number = f64::from_be_bytes(fixed(value)?);
    if !number.is_finite() {
        return special(number, out);
    }
    let (number, negative) = (number.abs(), number.is_sign_negative());
    let binary = Binary::new(number.to_bits(), f64::MANTISSA_DIGITS, f64::MIN_EXP);
    let decimal = binary.shortest(number, 17, |text| text.parse() == Ok(number));
    decimal.write(negative, 15, out);
    Ok(())
}

/// Appends a `float4`; with an exponent from 1e6 up and below 1e-4.
pub(super) fn float4(value: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let number = f32::from_be_bytes(fixed(value)?);
    if !number.is_finite() {
        return special(number.into(), out);
    }
    let (number, negative) = (number.abs(), number.is_sign_negative());
    let binary = Binary::new(number.to_bits().into(), f32::MANTISSA_DIGITS, f32::MIN_EXP);
    let decimal = binary.shortest(number, 9, |text| text.parse() == Ok(number));
    decimal.write(negative, 6, out);
    Ok(())
}

fn special(number: f64, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text: &[u8] = match number {
        f64::INFINITY => b"\"Infinity\"",
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    };
    out.extend_from_slice(text);
    Ok(())
}

/// `mantissa` × 2^`exponent`: a finite float that is not negative.
struct Binary {
    mantissa: u64,
    exponent: i32,
}

impl Binary {
    /// Takes IEEE 754 bits apart; `precision` and `min_exponent` are `MANTISSA_DIGITS` and `MIN_EXP` of the type.
    fn new(bits: u64, precision: u32, min_exponent: i32) -> Self {
        let implicit = 1 << (precision - 1);
        let fraction = bits & (implicit - 1);
        let subnormal = min_exponent - precision as i32;
        match (bits >> (precision - 1)) as i32 {
            0 => Self {
                mantissa: fraction,
                exponent: subnormal,
            },
            biased => Self {
                mantissa: fraction | implicit,
                exponent: subnormal + biased - 1,
            },
        }
    }

    /// The decimal that Postgres prints for `number`, the float this was made of. `enough` significant digits tell all
    /// floats of its type apart; `reads_back` tells whether a text is read as `number`.
    fn shortest(&self, number: impl LowerExp, enough: usize, reads_back: impl Fn(&str) -> bool) -> Decimal {
        let mut decimal = Decimal::read(format_args!("{number:e}"));
        if self.mantissa == 0 {
            return decimal;
        }
        // Only an even float wins the decimals half-way to its neighbours.
        if self.mantissa.is_multiple_of(2) && self.is_half_way(&decimal) {
            return self.strictly_inside(number, enough, reads_back).unwrap_or(decimal);
        }
        // The lower of two equally near is the even one, unless it is out on the narrow side of a power of two.
        if !decimal.digits.is_multiple_of(2) && decimal.is_half_above(self) {
            let lower = Decimal {
                digits: decimal.digits - 1,
                ..decimal
            };
            if self.holds(&lower, reads_back) {
                decimal = lower;
            }
        }
        decimal
    }

    /// Whether the decimal is exactly in the middle between this float and one of its neighbours.
    ///
    /// Below a power of two the middle is nearer than this says. No shortest decimal of one is there: the test against
    /// a server has them all.
    fn is_half_way(&self, decimal: &Decimal) -> bool {
        [2 * self.mantissa - 1, 2 * self.mantissa + 1]
            .into_iter()
            .any(|middle| decimal.equals(middle, self.exponent - 1))
    }

    /// The shortest decimal that reads back and is not half-way, and of those the nearest.
    #[cold]
    fn strictly_inside(
        &self,
        number: impl LowerExp,
        enough: usize,
        reads_back: impl Fn(&str) -> bool,
    ) -> Option<Decimal> {
        (0..enough)
            .map(|places| Decimal::read(format_args!("{number:.places$e}")))
            .find(|decimal| self.holds(decimal, &reads_back))
    }

    /// Whether the decimal is strictly nearer to this float than to any other.
    #[cold]
    fn holds(&self, decimal: &Decimal, reads_back: impl Fn(&str) -> bool) -> bool {
        !self.is_half_way(decimal) && reads_back(&format!("{}e{}", decimal.digits, decimal.exponent))
    }
}

/// `digits` × 10^`exponent`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// Reads what `std` prints for `{:e}`: at most 17 digits with a point after the first, `e`, a decimal exponent.
    fn read(text: fmt::Arguments<'_>) -> Self {
        let mut reader = Reader::default();
        // Cannot fail: the reader takes everything.
        let _ = reader.write_fmt(text);
        let exponent = if reader.exponent_negative {
            -reader.exponent
        } else {
            reader.exponent
        };
        Self {
            digits: reader.digits,
            exponent: exponent - reader.places,
        }
    }

    /// Whether this is half a unit of its last digit above the float. It is not zero.
    fn is_half_above(&self, binary: &Binary) -> bool {
        let below = Self {
            digits: 2 * self.digits - 1,
            ..*self
        };
        below.equals(binary.mantissa, binary.exponent + 1)
    }

    /// Whether this is exactly `mantissa` × 2^`exponent`. Neither side is zero.
    fn equals(&self, mantissa: u64, exponent: i32) -> bool {
        // Both sides as an odd number times a power of two: those have to be the same each.
        let (twos, others) = (
            self.digits.trailing_zeros() as i32,
            self.digits >> self.digits.trailing_zeros(),
        );
        let (mantissa_twos, mantissa) = (mantissa.trailing_zeros() as i32, mantissa >> mantissa.trailing_zeros());
        if twos + self.exponent != mantissa_twos + exponent {
            return false;
        }
        // A power of five too large for 64 bits is larger than either number.
        let Some(fives) = 5_u64.checked_pow(self.exponent.unsigned_abs()) else {
            return false;
        };
        if self.exponent >= 0 {
            others.checked_mul(fives) == Some(mantissa)
        } else {
            mantissa.checked_mul(fives) == Some(others)
        }
    }

    /// Appends the number, with an exponent of at least two digits when it would be below -4 or `with_exponent` and
    /// more.
    fn write(&self, negative: bool, with_exponent: i32, out: &mut Vec<u8>) {
        if negative {
            out.push(b'-');
        }
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.digits).as_bytes();
        // Where the point goes, counted from the first digit.
        let point = digits.len() as i32 + self.exponent;
        match usize::try_from(point) {
            _ if point - 1 < -4 || point > with_exponent => {
                let (first, rest) = digits.split_at(1);
                out.extend_from_slice(first);
                if !rest.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(rest);
                }
                out.extend_from_slice(if point < 1 { b"e-" } else { b"e+" });
                let exponent = (point - 1).unsigned_abs();
                if exponent < 10 {
                    out.push(b'0');
                }
                out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
            }
            Ok(point) if point >= digits.len() => {
                out.extend_from_slice(digits);
                out.resize(out.len() + point - digits.len(), b'0');
            }
            Ok(point) if point > 0 => {
                let (whole, fraction) = digits.split_at(point);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + point.unsigned_abs() as usize, b'0');
                out.extend_from_slice(digits);
            }
        }
    }
}

/// Takes a float apart while `std` prints it, which saves a buffer.
#[derive(Default)]
struct Reader {
    digits: u64,
    /// Digits after the point.
    places: i32,
    exponent: i32,
    exponent_negative: bool,
    after_point: bool,
    in_exponent: bool,
}

impl Write for Reader {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'.' => self.after_point = true,
                b'e' => self.in_exponent = true,
                b'-' => self.exponent_negative = true,
                _ if self.in_exponent => self.exponent = self.exponent * 10 + i32::from(byte - b'0'),
                _ => {
                    self.digits = self.digits * 10 + u64::from(byte - b'0');
                    self.places += i32::from(self.after_point);
                }
            }
        }
        Ok(())
    }
}
