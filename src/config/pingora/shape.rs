//! How the values of Pingora's keys are written, by the type of the field. They are read by type and not from their
//! text: `"4"` is no number.

use std::ops::RangeInclusive;

use super::super::keys::shape::{Shape, Typed};

/// The shape of a field of that type; `range` is that of a number.
pub(in super::super) fn of(name: &str, range: Option<RangeInclusive<u64>>) -> Shape {
    Shape::Typed(typed(name, range))
}

fn typed(name: &str, range: Option<RangeInclusive<u64>>) -> Typed {
    let inner = name
        .strip_prefix("Option<")
        .and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner {
        return Typed::Optional(Box::new(typed(inner, range)));
    }
    match name {
        "bool" => Typed::Flag,
        "usize" | "u64" => Typed::Number(range.unwrap_or(0..=u64::MAX)),
        "NonZeroU64" => Typed::Number(range.unwrap_or(1..=u64::MAX)),
        "String" => Typed::Text("text"),
        "PathBuf" => Typed::Text("a path"),
        "Vec<String>" => Typed::List("addresses"),
        "RuntimeMetricsPollTimeHistogramScale" => Typed::Words(&["linear", "log"]),
        other => panic!("no shape for a key of type {other}"),
    }
}
