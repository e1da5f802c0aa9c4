//! `tollgate.telemetry`: traces for OpenTelemetry.

use http::{HeaderName, HeaderValue};

use super::keys::form::Absent::{Means, Required};
use super::keys::form::{OneOf, Raw};
use super::keys::keys;
use super::reader::{Item, Part};
use crate::hook::name_fault;
use crate::http::target::TargetError;
use crate::http::url::HttpUrl;
use crate::script::Secrets;
use crate::telemetry::traces::{Propagate, Sample, TraceSettings};

/// Where a collector takes traces, below its endpoint.
const PATH: &str = "/v1/traces";

const PROPAGATE: OneOf<Propagate> = OneOf(&[
    ("never", Propagate::Never),
    ("gateway", Propagate::Gateway),
    ("all", Propagate::All),
]);

keys! {
    /// What is told of requests beside log and metrics.
    pub(super) struct TelemetryKeys<'d> {
        /// [Traces](traces.md) for OpenTelemetry, sent by OTLP over HTTP.
        otlp: Option<Item<'d>> = Means("none"), Raw => Shape::Map(OtlpKeys::keys);
    }
}

keys! {
    /// A collector of OpenTelemetry.
    pub(super) struct OtlpKeys<'d> {
        /// Its http or https URL, such as `http://127.0.0.1:4318`; `/v1/traces` is added.
        endpoint: Option<Item<'d>> = Required, Raw => Shape::text("a URL");
        /// How many of the requests that have no trace begin one, in percent: `1%`, `0.01%`, `100%`.
        sample: Option<Item<'d>> = Means("`1%`"), Raw => Shape::text("a percentage");
        /// Whose `traceparent` is taken up and to whom it is passed on: `never`; `gateway`, from clients of the gateway to its
        /// upstreams; `all`, from all clients to origins and parents as well.
        propagate: Propagate = Propagate::Never, PROPAGATE;
        /// Fields for the collector, each with the name of the secret that is its value.
        fields: Option<Item<'d>> = Means("none"), Raw => Shape::Texts("a map of field names and names of secrets");
    }
}

/// Reads the section; none where there are no traces.
pub(super) fn read(part: Part<'_>, secrets: &Secrets) -> Option<TraceSettings> {
    let mut section = part.section();
    let keys = TelemetryKeys::take(&mut section);
    section.finish();
    otlp(&keys.otlp?, secrets)
}

fn otlp(item: &Item<'_>, secrets: &Secrets) -> Option<TraceSettings> {
    let mut section = item.section();
    let keys = OtlpKeys::take(&mut section);
    if keys.endpoint.is_none() && section.is_known(&["endpoint"]) {
        section.report(
            "endpoint",
            "missing",
            "write one such as http://127.0.0.1:4318",
        );
    }
    let sample = match &keys.sample {
        None => Some(Sample::of_million(10_000)),
        Some(item) => sample(item),
    };
    let fields = match &keys.fields {
        None => Some(Vec::new()),
        Some(item) => fields(item, secrets),
    };
    section.note_meaning("sample", &format!("{sample:?}"));
    section.finish();
    let endpoint = endpoint(&keys.endpoint?, !fields.as_ref()?.is_empty())?;
    Some(TraceSettings {
        endpoint,
        fields: fields?,
        sample: sample?,
        propagate: keys.propagate,
    })
}

/// The URL is not repeated: it may have a password in it.
fn endpoint(item: &Item<'_>, has_fields: bool) -> Option<HttpUrl> {
    const REMEDY: &str = "write one such as http://127.0.0.1:4318";
    let text = item.text()?;
    if text.contains(['?', '#']) {
        item.report("has a query or a fragment", REMEDY);
        return None;
    }
    let base = text.trim_end_matches('/');
    let whole = match base.ends_with(PATH) {
        true => base.to_owned(),
        false => format!("{base}{PATH}"),
    };
    let url = match HttpUrl::parse(&whole) {
        Ok(url) => url,
        Err(error) => {
            let message = match error {
                TargetError::Form => "not a URL".to_owned(),
                error => error.to_string(),
            };
            item.report(message, REMEDY);
            return None;
        }
    };
    if url.is_exposed() {
        let message = match has_fields {
            true => "secrets and traces over http: a machine on the way can read them",
            false => "traces over http: a machine on the way can read them",
        };
        item.warn(
            message,
            "write an https:// URL, or a collector on this machine",
        );
    }
    Some(url)
}

/// `1%` as ten thousand of a million.
fn sample(item: &Item<'_>) -> Option<Sample> {
    let text = item.text()?;
    let number = text.strip_suffix('%').and_then(millionths);
    if number.is_none() {
        let remedy = "write one such as 1%, 0.01% or 100%, with up to four digits behind the point";
        item.report("not a percentage", remedy);
    }
    number.map(Sample::of_million)
}

fn millionths(percent: &str) -> Option<u32> {
    let (whole, below) = percent.split_once('.').unwrap_or((percent, "0"));
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(below, 4) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let below: u32 = format!("{below:0<4}").parse().ok()?;
    let millionths = whole * 10_000 + below;
    (millionths <= 1_000_000).then_some(millionths)
}

fn fields(item: &Item<'_>, secrets: &Secrets) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut fields = Vec::new();
    let mut is_whole = true;
    for (name, item) in item.entries()? {
        match field(name, &item, secrets) {
            Some(field) => fields.push(field),
            None => is_whole = false,
        }
    }
    is_whole.then_some(fields)
}

fn field(name: &str, item: &Item<'_>, secrets: &Secrets) -> Option<(HeaderName, HeaderValue)> {
    let field = HeaderName::from_bytes(name.as_bytes()).ok();
    let field = field.filter(|field| name_fault(field.as_str(), false).is_none());
    let Some(field) = field else {
        item.report(
            "not a field that can be set",
            "name one such as authorization",
        );
        return None;
    };
    let named = item.text()?;
    let Some(secret) = secrets.get(named) else {
        let remedy = "name a secret of tollgate.secrets";
        item.report("no secret has this name", remedy);
        return None;
    };
    let Ok(mut value) = HeaderValue::from_str(secret.expose()) else {
        item.report(
            "the secret has characters that no field has",
            "make another one",
        );
        return None;
    };
    value.set_sensitive(true);
    Some((field, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        for (text, expected) in [
            ("1", Some(10_000)),
            ("0", Some(0)),
            ("100", Some(1_000_000)),
            ("0.01", Some(100)),
            ("12.3456", Some(123_456)),
            ("100.0001", None),
            ("101", None),
            ("", None),
            (".5", None),
            ("1.", None),
            ("1.00001", None),
            ("-1", None),
            ("1e1", None),
        ] {
            assert_eq!(millionths(text), expected, "{text}");
        }
    }
}
