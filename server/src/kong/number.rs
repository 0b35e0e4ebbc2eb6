//! Numbers as Kong's Lua prints them: C's `%.14g`, with LuaJIT's rounding (`kong-hybrid.md` 1.8.1, 4.2).

/// Decimal digits that `%.14g` keeps.
const DIGITS: usize = 14;

/// Integers below this have at most [`DIGITS`] digits and print as they are.
const PLAIN_INTEGERS_BELOW: f64 = 1e14;

/// The longest exact decimal expansion of a double has this many significant digits.
const EXACT_DIGITS: usize = 767;

/// Appends `%.14g` of a double. Exact decimal ties round half away from zero, as in LuaJIT; C libraries and Rust
/// round them to even.
pub fn append(value: f64, out: &mut Vec<u8>) {
    if value.fract() == 0.0 && value.abs() < PLAIN_INTEGERS_BELOW {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        // In range by the condition above.
        #[expect(clippy::cast_possible_truncation)]
        let integer = value as i64;
        out.extend_from_slice(integer.to_string().as_bytes());
        return;
    }
    if !value.is_finite() {
        let name = if value.is_nan() {
            "nan"
        } else if value < 0.0 {
            "-inf"
        } else {
            "inf"
        };
        out.extend_from_slice(name.as_bytes());
        return;
    }
    if value < 0.0 {
        out.push(b'-');
    }
    let (digits, exponent) = rounded(value.abs());
    let digits = match digits.iter().rposition(|&digit| digit != b'0') {
        Some(last) => &digits[..=last],
        None => &digits[..1],
    };
    if exponent < -4 || exponent >= DIGITS as i32 {
        append_scientific(digits, exponent, out);
    } else {
        append_fixed(digits, exponent, out);
    }
}

/// `%.14g` of a double, as text.
#[must_use]
pub fn text(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    append(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Fourteen significant digits of a positive finite number, and the decimal exponent of the first.
fn rounded(value: f64) -> ([u8; DIGITS], i32) {
    let (mut digits, mut exponent) = scientific(value, DIGITS);
    if is_tie(value) {
        // Rust has rounded to even: take the digits below the tie, and round away from zero.
        let (below, at) = scientific(value, DIGITS + 1);
        digits = below;
        exponent = at;
        digits.truncate(DIGITS);
        if increment(&mut digits) {
            exponent += 1;
        }
    }
    let mut kept = [b'0'; DIGITS];
    for (slot, digit) in kept.iter_mut().zip(digits) {
        *slot = digit;
    }
    (kept, exponent)
}

/// Whether the exact value lies half-way between two numbers of fourteen digits.
fn is_tie(value: f64) -> bool {
    let is_half =
        |digits: &[u8]| digits.get(DIGITS) == Some(&b'5') && digits[DIGITS + 1..].iter().all(|&digit| digit == b'0');
    // Thirty digits rule out nearly everything; the full expansion is asked only of the rest.
    is_half(&scientific(value, 30).0) && is_half(&scientific(value, EXACT_DIGITS).0)
}

/// The first `count` significant digits, correctly rounded (ties to even), and the decimal exponent of the first.
fn scientific(value: f64, count: usize) -> (Vec<u8>, i32) {
    let text = format!("{value:.*e}", count - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    (digits, exponent.parse().unwrap_or(0))
}

/// Adds one to the last digit. True where that carried out of the first: the digits are then a power of ten.
fn increment(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            return false;
        }
    }
    if let Some(first) = digits.first_mut() {
        *first = b'1';
    }
    true
}

fn append_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("e{sign}{:02}", exponent.unsigned_abs()).as_bytes());
}

/// For exponents from -4 to 13.
fn append_fixed(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        out.extend_from_slice(digits);
        return;
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    if digits.len() <= whole {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(text(value), expected);
    }

    #[test]
    fn numbers_print_as_luajit_prints_them() {
        check(5.0, "5");
        check(0.0, "0");
        check(-0.0, "-0");
        check(-1.0, "-1");
        check(0.5, "0.5");
        check(1_700_000_400.123, "1700000400.123");
        check(1e13, "10000000000000");
        check(99_999_999_999_999.0, "99999999999999");
        check(1e14, "1e+14");
        check(123_456_789_012_345.0, "1.2345678901235e+14");
        check(1e100, "1e+100");
        check(f64::MAX, "1.7976931348623e+308");
        check(5e-324, "4.9406564584125e-324");
        check(1e-4, "0.0001");
        check(1e-5, "1e-05");
        check(1.0 / 3.0, "0.33333333333333");
        check(0.1 + 0.2, "0.3");
        check(f64::INFINITY, "inf");
        check(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn an_exact_tie_rounds_away_from_zero() {
        check(12_345_678_901_234.5, "12345678901235");
        check(12_345_678_901_235.5, "12345678901236");
        check(-12_345_678_901_234.5, "-12345678901235");
        check(99_999_999_999_999.5, "1e+14");
        check(1_234_567_890_123.25, "1234567890123.3");
    }

    proptest! {
        #[test]
        fn fourteen_digits_are_kept(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let printed: f64 = text(value).parse().unwrap();
            let error = (printed - value).abs();
            prop_assert!(printed.is_infinite() || error <= value.abs() * 1e-13 + f64::MIN_POSITIVE);
        }
    }
}
