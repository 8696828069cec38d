//! `numeric` as decimal text, without loss of digits or scale.
//!
//! The binary format (PostgreSQL's numeric_send): four 16-bit integers (number
//! of digits, weight of the first digit, sign, digits after the point), then
//! digits to the base 10,000.

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const PLUS_INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;
/// PostgreSQL's limits on digits before and after the point.
const MAX_WHOLE: usize = 131_072;
const MAX_FRACTION: usize = 16_383;

/// From `-12.50`, `NaN`, `Infinity` or `-Infinity`; no exponent. None if it is
/// anything else.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(PLUS_INFINITY),
        "-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        return Some(pack(&[], 0, sign, 0));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    if !all_digits || !has_digits || fraction.contains('.') {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_WHOLE || fraction.len() > MAX_FRACTION {
        return None;
    }
    // Groups of four digits are counted from the point, in both directions.
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let digits = format!("{padded_whole}{padded_fraction}");
    let mut groups = Vec::with_capacity(digits.len() / 4);
    for group in digits.as_bytes().chunks(4) {
        groups.push(group.iter().fold(0_u16, |number, digit| number * 10 + u16::from(digit - b'0')));
    }
    let mut weight = i16::try_from(padded_whole.len() / 4).ok()? - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zero = groups.is_empty();
    let sign = if negative && !zero { NEGATIVE } else { POSITIVE };
    Some(pack(&groups, if zero { 0 } else { weight }, sign, u16::try_from(fraction.len()).ok()?))
}

fn pack(groups: &[u16], weight: i16, sign: u16, scale: u16) -> Vec<u8> {
    // At most (131,072 + 16,383) / 4 groups, by the check above.
    let header = [groups.len() as u16, weight.cast_unsigned(), sign, scale];
    header.iter().chain(groups).flat_map(|number| number.to_be_bytes()).collect()
}

pub fn decode(bytes: &[u8]) -> Option<String> {
    let mut numbers = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, scale) = (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
    match sign {
        NAN => return Some("NaN".into()),
        PLUS_INFINITY => return Some("Infinity".into()),
        MINUS_INFINITY => return Some("-Infinity".into()),
        _ => (),
    }
    let groups: Vec<u16> = numbers.take(count.into()).collect();
    let weight = weight.cast_signed();
    let group = |position: i32| -> u16 {
        usize::try_from(position).ok().and_then(|position| groups.get(position)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    for position in 0..=i32::from(weight) {
        text.push_str(&format!("{:04}", group(position)));
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let mut fraction = String::new();
        for position in 0..i32::from(scale.div_ceil(4)) {
            fraction.push_str(&format!("{:04}", group(i32::from(weight) + 1 + position)));
        }
        text.push('.');
        text.push_str(fraction.get(..scale.into())?);
    }
    Some(if sign == NEGATIVE { format!("-{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn digits_and_scale_survive() {
        let long = format!("{}.{}", "9".repeat(40), "1".repeat(37));
        for text in [
            "0",
            "0.00",
            "-12.50",
            "10000",
            "9999.9999",
            "0.0001",
            "0.00010",
            "123456789.123456789",
            "NaN",
            "-0.5",
            "Infinity",
            "-Infinity",
            "100000000",
            &long,
        ] {
            let bytes = encode(text).unwrap_or_else(|| panic!("{text} is refused"));
            assert_eq!(decode(&bytes).as_deref(), Some(text));
        }
        assert_eq!(encode("007.5").as_deref().and_then(decode).as_deref(), Some("7.5"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", ".", "-", "1e5", "1.2.3", "0x1", " 1", "1,5", "--1", "nan"] {
            assert_eq!(encode(text), None, "{text}");
        }
    }
}
