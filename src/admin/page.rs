//! The page of the admin service: HTML from a snapshot, and the files that it loads.
//!
//! It works without JavaScript; the module in `assets` keeps it up to date. It is given data, and it fetches, changes
//! and decides nothing. Every file is in the program, and no part of the page leads to another origin.

mod assets;
mod facts;
mod format;
mod html;
mod serve;
mod table;
mod tables;

use serde_json::Value;

use self::facts::{CHARTS, Fact, PROCESS};
use self::format::Format;
use self::html::Html;
pub(super) use self::serve::{charts, icon, module, page, style_sheet};
use self::table::Table;
use self::tables::{
    CERTIFICATES, CLASSES, DENIALS, ERRORS, OTHERS, PARENTS, QUOTAS, REQUESTS, RULES, SITES,
    TOP_DENIALS, TUNNELS, UPSTREAMS, USERS,
};

/// The beginning, up to what the data says.
const BEGIN: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tollgate</title>
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<link rel=\"icon\" href=\"/assets/icon.svg\" type=\"image/svg+xml\">
<link rel=\"stylesheet\" href=\"/assets/page.css\">
<script src=\"/assets/uplot.js\" defer></script>
<script type=\"module\" src=\"/assets/page.js\"></script>
<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>
</head>";

/// The sections that the bar leads to.
const SECTIONS: [(&str, &str); 8] = [
    ("#now", "Now"),
    ("#tunnels", "Tunnels"),
    ("#denials", "Denials"),
    ("#users", "Users"),
    ("#sites", "Sites"),
    ("#upstreams", "Upstreams"),
    ("#rules", "Rules"),
    ("#process", "Process"),
];

/// The form that has the policy explain any request.
const EXPLAIN: &str = "<section class=\"panel needs-script\" id=\"explain\" aria-labelledby=\"explain-title\">
<header><h2 id=\"explain-title\">Explain a request</h2></header>
<form id=\"question\" class=\"question\" autocomplete=\"off\">
<label class=\"long\">Target <input name=\"target\" required spellcheck=\"false\" placeholder=\"host:443, a URL or a path\"></label>
<label>User <input name=\"user\" spellcheck=\"false\"></label>
<label>Client <input name=\"client\" spellcheck=\"false\" placeholder=\"127.0.0.1\"></label>
<label>Method <input name=\"method\" spellcheck=\"false\"></label>
<button>Explain</button></form>
<div id=\"explanation\" role=\"status\"></div></section>";

/// The dialogue that asks before something is changed.
const CONFIRM: &str = "<dialog id=\"confirm\" aria-labelledby=\"confirm-title\"><form method=\"dialog\">
<h2 id=\"confirm-title\">Confirm</h2><p id=\"confirm-text\"></p>
<menu><button value=\"\">Cancel</button><button value=\"yes\" class=\"danger\" id=\"confirm-yes\">Confirm</button></menu>
</form></dialog>";

/// The page.
///
/// `data` has what the API answers: `status`, `snapshot`, `denials`, `requests` and `quotas`. With
/// `may_change`, it has the buttons that change something.
fn render(data: &Value, may_change: bool) -> String {
    let now = data
        .pointer("/snapshot/now/time")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let mut html = Html::default();
    html.markup(BEGIN)
        .markup("<body><a class=\"skip\" href=\"#main\">Skip to the content</a>");
    write_bar(&mut html, data, now);
    write_notices(&mut html, data);
    html.markup("<main id=\"main\" tabindex=\"-1\">");
    html.markup("<section id=\"now\" aria-label=\"Now and the last 15 minutes\">");
    for chart in CHARTS {
        chart.write(&mut html, data, now);
    }
    html.markup("</section>");
    TUNNELS.write(&mut html, data, now, may_change);
    for row in [
        [&DENIALS, &TOP_DENIALS, &ERRORS].as_slice(),
        &[&USERS, &SITES],
    ] {
        write_row(&mut html, row, data, now, may_change);
    }
    REQUESTS.write(&mut html, data, now, may_change);
    html.markup(EXPLAIN);
    for row in [
        [&RULES, &OTHERS].as_slice(),
        &[&UPSTREAMS, &PARENTS],
        &[&CLASSES, &QUOTAS],
    ] {
        write_row(&mut html, row, data, now, may_change);
    }
    html.markup("<div class=\"row\">");
    write_process(&mut html, data, now, may_change);
    CERTIFICATES.write(&mut html, data, now, may_change);
    html.markup("</div></main>").markup(CONFIRM);
    html.markup("<p id=\"said\" class=\"unseen\" role=\"status\"></p>");
    html.markup("<script type=\"application/json\" id=\"data\">")
        .data(data);
    html.markup("</script></body></html>\n");
    html.finish()
}

fn write_row(html: &mut Html, tables: &[&Table], data: &Value, now: i64, may_change: bool) {
    html.markup("<div class=\"row\">");
    for table in tables {
        table.write(html, data, now, may_change);
    }
    html.markup("</div>");
}

/// What needs attention, as it was when the page was made.
fn write_notices(html: &mut Html, data: &Value) {
    html.markup("<div id=\"notices\" role=\"status\">");
    let notices = data.pointer("/status/attention").and_then(Value::as_array);
    for notice in notices.into_iter().flatten() {
        let of = |name: &str| notice.get(name).and_then(Value::as_str).unwrap_or_default();
        html.markup("<p")
            .attribute("class", &format!("notice {}", of("severity")));
        html.markup("><span>")
            .text(of("text"))
            .markup("</span></p>");
    }
    html.markup("</div>");
}

fn write_bar(html: &mut Html, data: &Value, now: i64) {
    html.markup("<header class=\"bar\"><h1>Tollgate</h1>");
    let state = Fact {
        label: "State",
        path: "/status/state",
        format: Format::State,
    };
    state.write_value(html, data, now);
    html.markup("<nav aria-label=\"Sections\">");
    for (link, text) in SECTIONS {
        html.markup("<a")
            .attribute("href", link)
            .markup(">")
            .text(text)
            .markup("</a>");
    }
    html.markup("</nav><p id=\"live\" class=\"live\"><span id=\"live-text\">as of</span> <span class=\"clock\">");
    let time = chrono::DateTime::from_timestamp(now, 0);
    let time = time
        .map(|time| time.format("%H:%M:%S").to_string())
        .unwrap_or_default();
    html.markup("<span id=\"time\">")
        .text(&time)
        .markup("</span> UTC</span></p>");
    html.markup(
        "<button type=\"button\" class=\"needs-script\" data-do=\"reload\">Reload</button>",
    );
    html.markup("</header>");
}

fn write_process(html: &mut Html, data: &Value, now: i64, may_change: bool) {
    html.markup("<section class=\"panel\" id=\"process\" aria-labelledby=\"process-title\">");
    html.markup("<header><h2 id=\"process-title\">Process</h2>");
    if may_change {
        html.markup("<p></p><button type=\"button\" class=\"needs-script\" data-do=\"drain\">Drain</button>");
    }
    html.markup("</header><dl class=\"facts\">");
    for fact in &PROCESS {
        html.markup("<div><dt>")
            .text(fact.label)
            .markup("</dt><dd>");
        fact.write_value(html, data, now);
        html.markup("</dd></div>");
    }
    html.markup("</dl></section>");
}
