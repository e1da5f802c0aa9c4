//! The values of YAML's core schema (YAML 1.2.2 §10.3). Pure.

/// `true` or `false`, in the three spellings of each.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A plain scalar that is not null, as the core schema of YAML 1.2 has it; fractions stay text.
pub(super) fn plain_to_json(text: &str) -> serde_json::Value {
    if let Some(flag) = flag(text) {
        return flag.into();
    }
    let negative = || text.parse::<i64>().ok();
    match whole_number(text).and_then(|number| u64::try_from(number).ok()) {
        Some(number) => number.into(),
        None => negative().map_or_else(|| text.into(), Into::into),
    }
}

/// A whole number from 0 on, as the core schema of YAML 1.2 has it: `20`, `+20`, `0x14`, `0o24`. One that is too
/// large is as large as can be.
pub(super) fn whole_number(text: &str) -> Option<u128> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) => (digits, 8),
        (None, None) => (text.strip_prefix('+').unwrap_or(text), 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| u128::from_str_radix(digits, radix).unwrap_or(u128::MAX))
}
