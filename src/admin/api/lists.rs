//! The lists: tunnels, requests, users, sites, denials, upstreams, limits and rules; and closing tunnels.

use std::sync::Arc;

use url::form_urlencoded;

use super::in_background;
use crate::admin::answer::Answer;
use crate::admin::routes::Call;
use crate::request::app::App;
use crate::request::live::{self, DEFAULT_LIMIT, MAX_LIMIT, TunnelsBy};
use crate::telemetry::{ClassRow, TopBy, members};

/// The most denials that are kept.
const MAX_DENIALS: usize = 200;

members! {
    /// The classes of limits.
    pub(in crate::admin) struct LimitReport;
    classes: Vec<ClassRow> as "classes" of ClassRow, "The classes, in the order of the configuration.";
}

members! {
    /// What was closed.
    pub(in crate::admin) struct Closed;
    closed: usize, "Tunnels that were told to end.";
}

/// What a query says of a list.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    user: Option<String>,
    text: Option<String>,
    sort: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
    /// Reads the keys that a list knows.
    ///
    /// # Errors
    /// Another key, or a value out of its range.
    fn parse(query: Option<&str>, keys: &[&str]) -> Result<Self, Answer> {
        let mut wanted = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !keys.contains(&&*key) {
                let keys = match keys {
                    [] => "none".to_owned(),
                    keys => keys.join(", "),
                };
                return Err(Answer::malformed(format!(
                    "the keys of the query are: {keys}"
                )));
            }
            match &*key {
                "user" => wanted.user = Some(value.into_owned()),
                "q" => wanted.text = Some(value.into_owned()),
                "sort" => wanted.sort = Some(value.into_owned()),
                _ => match value.parse() {
                    Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => wanted.limit = Some(limit),
                    _ => {
                        let message = format!("limit is a number from 1 to {MAX_LIMIT}");
                        return Err(Answer::malformed(message));
                    }
                },
            }
        }
        Ok(wanted)
    }

    /// The order, or the default one.
    ///
    /// # Errors
    /// There is no such order.
    fn order<T: Default>(
        &self,
        parse: fn(&str) -> Option<T>,
        names: &'static str,
    ) -> Result<T, Answer> {
        match self.sort.as_deref().map(parse) {
            None => Ok(T::default()),
            Some(Some(order)) => Ok(order),
            Some(None) => Err(Answer::malformed(format!("sort is {names}"))),
        }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    fn rows(&self) -> live::Query<'_> {
        live::Query {
            user: self.user.as_deref(),
            text: self.text.as_deref(),
            limit: self.limit(),
        }
    }
}

/// `?`, for functions whose error is an answer too.
macro_rules! given {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(answer) => return answer,
        }
    };
}

/// Open tunnels.
pub(in crate::admin) async fn tunnels(call: Call<'_>) -> Answer {
    let wanted = given!(Wanted::parse(call.query, &["user", "q", "sort", "limit"]));
    let by = given!(wanted.order(TunnelsBy::parse, "rate, bytes, age, user or target"));
    in_background(call, move |app, _| live::tunnels(app, by, &wanted.rows())).await
}

/// Requests in flight.
pub(in crate::admin) async fn requests(call: Call<'_>) -> Answer {
    let wanted = given!(Wanted::parse(call.query, &["user", "q", "limit"]));
    in_background(call, move |app, _| live::requests(app, &wanted.rows())).await
}

/// Users and what they have used.
pub(in crate::admin) async fn users(call: Call<'_>) -> Answer {
    let wanted = given!(Wanted::parse(call.query, &["q", "sort", "limit"]));
    let by = given!(wanted.order(TopBy::parse, "requests, bytes or denials"));
    let text = wanted.text.as_deref().unwrap_or_default().to_lowercase();
    let limit = wanted.limit();
    in_background(call, move |app, _| {
        let is_wanted = |user: &str| text.is_empty() || user.to_lowercase().contains(&text);
        app.telemetry.top_users(by, limit, is_wanted)
    })
    .await
}

/// Sites.
pub(in crate::admin) async fn sites(call: Call<'_>) -> Answer {
    let wanted = given!(Wanted::parse(call.query, &["sort", "limit"]));
    let by = given!(wanted.order(TopBy::parse, "requests, bytes or denials"));
    let limit = wanted.limit();
    in_background(call, move |app, _| app.telemetry.top_sites(by, limit)).await
}

/// The last denials.
pub(in crate::admin) async fn denials(call: Call<'_>) -> Answer {
    let wanted = given!(Wanted::parse(call.query, &["limit"]));
    let limit = wanted.limit.unwrap_or(MAX_DENIALS);
    in_background(call, move |app, _| app.telemetry.last_denials(limit)).await
}

/// The pools of the gateway and the parents.
pub(in crate::admin) async fn upstreams(call: Call<'_>) -> Answer {
    in_background(call, |app, _| live::upstreams(app)).await
}

/// The classes of limits.
pub(in crate::admin) async fn limits(call: Call<'_>) -> Answer {
    in_background(call, |app, _| LimitReport {
        classes: app.telemetry.classes(),
    })
    .await
}

/// The rules.
pub(in crate::admin) async fn policy(call: Call<'_>) -> Answer {
    in_background(call, |app, _| live::policy(app)).await
}

/// Closes a tunnel.
pub(in crate::admin) async fn close_tunnel(call: Call<'_>) -> Answer {
    let app: Arc<App> = Arc::clone(&call.admin.app);
    match live::close_tunnel(&app, call.parameter) {
        true => Answer::nothing().with_change(format!("tunnel {:?}", call.parameter)),
        false => Answer::not_found("there is no tunnel of this id; it may have ended"),
    }
}

/// Closes the tunnels of a user.
pub(in crate::admin) async fn close_tunnels_of(call: Call<'_>) -> Answer {
    let user = call.admin.app.telemetry.label_of(call.parameter);
    let answer = in_background(call, |app, user| Closed {
        closed: live::close_tunnels_of(app, user),
    });
    answer.await.with_change(format!("user {user:?}"))
}
