//! The task that sends spans to a collector, by OTLP over HTTP, beside the requests.
//!
//! Spans wait in a bounded queue. While a collector does not take them, or asks to wait, the queue fills and what comes
//! then is dropped and counted: no request waits for it, and none fails.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use prost::Message as _;
use tokio::sync::mpsc::Receiver;

use super::app::App;
use crate::telemetry::throttle::Throttle;
use crate::telemetry::traces::proto::ExportResponse;
use crate::telemetry::traces::{Batch, Spans, TraceSettings};
use crate::upstream::fetch::{FetchError, FetchRequest, FetchResponse};

/// Spans that are sent together, and how long the first of them waits for the others.
const BATCH: usize = 512;
const LINGER: Duration = Duration::from_secs(5);
/// The same while the process drains, which may be killed before it has ended.
const DRAIN_LINGER: Duration = Duration::from_secs(1);
/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer.
const MAX_ANSWER: usize = 64 << 10;
/// The pauses between attempts: the first one, doubled up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a batch is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a collector may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What became of a post.
enum Answer {
    /// Taken, but for so many.
    Taken { rejected: u64, why: String },
    /// It may be taken later, not before so long.
    Later { why: String, wait: Option<Duration> },
    /// Not to be sent again.
    Refused(String),
}

/// Sends spans until all work has ended, and then those that are left. Returns at once where there are no traces.
pub async fn look_after(app: Arc<App>) {
    let Some((settings, mut queue)) = app.telemetry.take_traces() else {
        return;
    };
    let _last = app.lifecycle.begin_last_task();
    let mut lost = 0;
    let exporter = Exporter {
        app: &app,
        settings: &settings,
        told: Throttle::new(),
    };
    while let Some(spans) = exporter.next_batch(&mut queue).await {
        let not_taken = exporter.deliver(spans).await;
        if app.lifecycle.has_work_ended() {
            lost += not_taken;
        }
    }
    if lost > 0 {
        let endpoint = &settings.endpoint;
        log::warn!("traces: {endpoint}: the last {lost} spans were not taken and are lost");
    }
}

struct Exporter<'a> {
    app: &'a App,
    settings: &'a TraceSettings,
    told: Throttle,
}

impl Exporter<'_> {
    /// The next batch: complete, or after a while, or what is left at the end. None when nothing is left.
    async fn next_batch(&self, queue: &mut Receiver<Spans>) -> Option<Batch> {
        let first = tokio::select! {
            first = queue.recv() => first?,
            () = self.app.lifecycle.work_ended() => queue.try_recv().ok()?,
        };
        let mut batch = Batch::new(first);
        let more = async {
            while batch.count() < BATCH
                && let Some(spans) = queue.recv().await
            {
                batch.add(spans);
            }
        };
        let draining = async {
            self.app.lifecycle.drain_begun().await;
            tokio::time::sleep(DRAIN_LINGER).await;
        };
        tokio::select! {
            // What is there comes first.
            biased;
            () = more => {}
            () = tokio::time::sleep(LINGER) => {}
            () = draining => {}
            () = self.app.lifecycle.work_ended() => {}
        }
        Some(batch)
    }

    /// Sends a batch, again where that may help, and counts what became of it. How many spans were not taken.
    async fn deliver(&self, batch: Batch) -> u64 {
        let count = batch.count() as u64;
        let content = batch.encode();
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let (why, wait) = match self.post(content.clone()).await {
                Answer::Taken { rejected, why } => {
                    let rejected = rejected.min(count);
                    self.app.telemetry.spans_sent("exported", count - rejected);
                    if rejected > 0 {
                        self.app.telemetry.spans_sent("rejected", rejected);
                        self.tell(&format!(
                            "the collector did not take {rejected} spans: {why}"
                        ));
                    }
                    return rejected;
                }
                Answer::Refused(why) => {
                    self.app.telemetry.spans_sent("rejected", count);
                    self.tell(&why);
                    return count;
                }
                Answer::Later { why, wait } => (why, wait),
            };
            self.tell(&why);
            let wait = wait.map(|wait| wait.min(LONGEST_WAIT));
            let next = wait.unwrap_or(pause);
            let has_ended = self.app.lifecycle.has_work_ended();
            if has_ended || begun.elapsed() + next > PATIENCE {
                self.app.telemetry.spans_sent("failed", count);
                // What it asked for holds for the next batch as well.
                if let Some(wait) = wait {
                    self.sleep(wait).await;
                }
                return count;
            }
            self.sleep(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Until the end at most: a batch is tried once more then.
    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.app.lifecycle.work_ended() => {}
        }
    }

    async fn post(&self, content: bytes::Bytes) -> Answer {
        let request = FetchRequest {
            method: Method::POST,
            url: &self.settings.endpoint,
            content: Some(("application/x-protobuf", content)),
            accept: "application/x-protobuf",
            fields: self.settings.fields.clone(),
            // What fails is sent again in any case.
            is_repeatable: true,
            max_body: MAX_ANSWER,
            cuts_body: true,
            timeout: TIMEOUT,
        };
        answer(self.app.fetcher.fetch(request).await)
    }

    /// Says it now and then.
    fn tell(&self, why: &str) {
        if let Some(passed) = self.told.pass() {
            let endpoint = &self.settings.endpoint;
            log::warn!("traces: {endpoint}: {why}; spans that have no room are dropped{passed}");
        }
    }
}

fn answer(fetched: Result<FetchResponse, FetchError>) -> Answer {
    let response = match fetched {
        Ok(response) => response,
        Err(error) => {
            let why = error.to_string();
            return Answer::Later { why, wait: None };
        }
    };
    let status = response.status;
    match status {
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
            let partial = ExportResponse::decode(&*response.body).ok();
            let partial = partial.and_then(|answer| answer.partial_success);
            let partial = partial.unwrap_or_default();
            let why: String = partial.error_message.chars().take(200).collect();
            Answer::Taken {
                rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
                why: why.escape_debug().to_string(),
            }
        }
        // Those that OTLP names.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Later {
            why: format!("the collector answers {}", status.as_u16()),
            wait: retry_after(&response.fields, SystemTime::now()),
        },
        _ => Answer::Refused(format!(
            "the collector answers {}; correct the endpoint or its fields",
            status.as_u16()
        )),
    }
}

/// How long a server asks to wait: seconds or a date (RFC 9110 §10.2.3).
fn retry_after(fields: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &str)], body: &[u8]) -> FetchResponse {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(*name, value.parse().unwrap());
        }
        FetchResponse {
            status: StatusCode::from_u16(status).unwrap(),
            fields: map,
            body: bytes::Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn answers() {
        for status in [429, 502, 503, 504] {
            let later = answer(Ok(response(status, &[("retry-after", "7")], b"")));
            let Answer::Later { wait, .. } = later else {
                panic!("{status}");
            };
            assert_eq!(wait, Some(Duration::from_secs(7)), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500] {
            let refused = answer(Ok(response(status, &[], b"")));
            assert!(matches!(refused, Answer::Refused(_)), "{status}");
        }
        let lost = answer(Err(FetchError::Timeout(TIMEOUT)));
        assert!(matches!(lost, Answer::Later { wait: None, .. }));
        // Fields 1 (message) and in it 1 (5) and 2 ("no\n").
        let partial = b"\x0a\x07\x08\x05\x12\x03no\n";
        let taken = answer(Ok(response(200, &[], partial)));
        assert!(matches!(taken, Answer::Taken { rejected: 5, why } if why == "no\\n"));
        for body in [&b""[..], b"not protobuf", b"{}"] {
            let taken = answer(Ok(response(200, &[], body)));
            assert!(
                matches!(taken, Answer::Taken { rejected: 0, .. }),
                "{body:?}"
            );
        }
    }

    #[test]
    fn waits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let of = |value: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&fields, now)
        };
        assert_eq!(of("30"), Some(Duration::from_secs(30)));
        let later = httpdate::fmt_http_date(now + Duration::from_secs(60));
        assert_eq!(of(&later), Some(Duration::from_secs(60)));
        let before = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH);
        assert_eq!(of(&before), Some(Duration::ZERO));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
