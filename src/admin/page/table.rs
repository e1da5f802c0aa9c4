//! The tables of the page: what a table declares, and how its rows become HTML. Pure.
//!
//! A table is declared once, in `tables`. Its declaration is also written into `data-` attributes, from which
//! `assets/page.js` makes the rows that come later. So both make the same HTML of the same rows; a test compares them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::format::{Format, NONE, Shown, tone};
use super::html::Html;

/// A member of the rows.
pub(super) struct Column {
    /// Its name in JSON.
    pub(super) member: &'static str,
    /// Its heading.
    pub(super) label: &'static str,
    /// How its values are written.
    pub(super) format: Format,
    /// Where it is shown.
    pub(super) rank: Rank,
}

/// Where a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The heading of the row.
    Head,
    /// Everywhere.
    Main,
    /// Where it does not cost the columns of `Main` their room.
    Side,
    /// Where there is room for all.
    Extra,
}

/// How the rows are found at the path of a table.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A list of rows.
    List,
    /// An object: each member is a row with `name` and `count`.
    Counts,
    /// A list of pools, each with `pool` and its rows in `upstreams`.
    Pools,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Counts => "counts",
            Self::Pools => "pools",
        }
    }
}

/// A button in each row.
pub(super) struct Action {
    /// Its name in `data-action`.
    pub(super) name: &'static str,
    /// Its text.
    pub(super) label: &'static str,
    /// The members that say which row it is for, for screen readers.
    pub(super) of: &'static [&'static str],
    /// Whether it changes something.
    pub(super) changes: bool,
}

/// A table.
pub(super) struct Table {
    /// Its name, which is the `id` of its section.
    pub(super) id: &'static str,
    /// Its title.
    pub(super) title: &'static str,
    /// Where its rows are in the data (a JSON pointer, RFC 6901).
    pub(super) path: &'static str,
    /// How they are there.
    pub(super) shape: Shape,
    /// The members that together name a row.
    pub(super) key: &'static [&'static str],
    /// The columns.
    pub(super) columns: &'static [Column],
    /// The member that orders the rows, the largest first. None: the order of the data.
    pub(super) sort: Option<&'static str>,
    /// The most rows that are shown.
    pub(super) limit: usize,
    /// What it says without rows.
    pub(super) empty: &'static str,
    /// The button of each row.
    pub(super) action: Option<Action>,
    /// What its search finds; none: it has no search.
    pub(super) search: Option<&'static str>,
    /// Where a search or another order than its own is asked for, since there are more rows than the data has.
    pub(super) api: Option<&'static str>,
    /// Which order of the API a column is: members, and names of `sort`.
    pub(super) orders: &'static [(&'static str, &'static str)],
    /// Where the number of all rows is in the data.
    pub(super) total: Option<&'static str>,
}

/// The rows at the path of a table.
pub(super) fn rows<'a>(table: &Table, data: &'a Value) -> Vec<Cow<'a, Map<String, Value>>> {
    let Some(found) = data.pointer(table.path) else {
        return Vec::new();
    };
    let with = |row: &Map<String, Value>, name: &str, value: Value| {
        let mut row = row.clone();
        row.insert(name.to_owned(), value);
        Cow::Owned(row)
    };
    let objects = |value: &'a Value| {
        let values = value.as_array().into_iter().flatten();
        values.filter_map(Value::as_object)
    };
    let mut members: Vec<_> = found.as_object().into_iter().flatten().collect();
    members.sort_by(|a, b| a.0.cmp(b.0));
    let members = members.into_iter();
    let mut rows: Vec<_> = match table.shape {
        Shape::List => objects(found).map(Cow::Borrowed).collect(),
        Shape::Counts => members
            .map(|(name, count)| {
                let row = [
                    ("name".to_owned(), json!(name)),
                    ("count".to_owned(), count.clone()),
                ];
                Cow::Owned(row.into_iter().collect())
            })
            .collect(),
        Shape::Pools => objects(found)
            .flat_map(|pool| {
                let name = pool.get("pool").cloned().unwrap_or_default();
                let upstreams = pool.get("upstreams").into_iter().flat_map(objects);
                upstreams.map(move |row| with(row, "pool", name.clone()))
            })
            .collect(),
    };
    if let Some(member) = table.sort {
        let number =
            |row: &Map<String, Value>| row.get(member).and_then(Value::as_f64).unwrap_or(-1.0);
        rows.sort_by(|a, b| number(b).total_cmp(&number(a)));
    }
    rows.truncate(table.limit);
    rows
}

impl Table {
    /// Writes the section with the table and its rows.
    pub(super) fn write(&self, html: &mut Html, data: &Value, now: i64, may_change: bool) {
        let rows = rows(self, data);
        html.markup("<section class=\"panel\"")
            .attribute("id", self.id);
        html.attribute("aria-labelledby", &format!("{}-title", self.id));
        html.markup("><header><h2")
            .attribute("id", &format!("{}-title", self.id));
        html.markup(">")
            .text(self.title)
            .markup("</h2><p class=\"shown\" data-shown>");
        html.text(&self.shown(data, rows.len()));
        html.markup("</p>");
        if let Some(what) = self.search {
            html.markup(
                "<input type=\"search\" data-search autocomplete=\"off\" spellcheck=\"false\"",
            );
            html.attribute("placeholder", what);
            html.attribute(
                "aria-label",
                &format!("Search {}", self.title.to_lowercase()),
            );
            html.markup(">");
        }
        if self.columns.iter().any(|column| column.rank == Rank::Extra) {
            html.markup("<button type=\"button\" class=\"needs-script\" data-do=\"columns\" aria-pressed=\"false\">");
            html.markup("All columns</button>");
        }
        // Long tables scroll, and what scrolls can be reached by keyboard.
        html.markup("</header><div class=\"frame\" tabindex=\"0\" role=\"region\"");
        html.attribute("aria-label", self.title).markup("><table");
        html.attribute("data-table", self.id);
        html.attribute("data-path", self.path);
        html.attribute("data-shape", self.shape.name());
        html.attribute("data-key", &self.key.join(" "));
        html.attribute("data-limit", &self.limit.to_string());
        html.attribute("data-empty", self.empty);
        for (name, value) in [
            ("data-sort", self.sort),
            ("data-api", self.api),
            ("data-total", self.total),
        ] {
            if let Some(value) = value {
                html.attribute(name, value);
            }
        }
        let action = self
            .action
            .as_ref()
            .filter(|action| may_change || !action.changes);
        if let Some(action) = action {
            html.attribute("data-action", action.name);
            html.attribute("data-action-label", action.label);
            html.attribute("data-action-of", &action.of.join(" "));
        }
        html.attribute(
            "class",
            if self.columns.len() > 5 {
                "wide"
            } else {
                "small"
            },
        );
        html.markup("><caption>")
            .text(self.title)
            .markup("</caption><thead><tr>");
        for column in self.columns {
            let mut orders = self.orders.iter();
            let order = orders.find(|(member, _)| *member == column.member);
            let order = order.map(|(_, name)| *name);
            column.write_heading(html, self.sort == Some(column.member), order);
        }
        if let Some(action) = action {
            html.markup("<th scope=\"col\" class=\"act\"><span class=\"unseen\">");
            html.text(action.label).markup("</span></th>");
        }
        html.markup("</tr></thead><tbody>");
        let mut seen = HashMap::new();
        for row in &rows {
            self.write_row(html, row, now, action, &mut seen);
        }
        if rows.is_empty() {
            let width = self.columns.len() + usize::from(action.is_some());
            html.markup("<tr class=\"empty\"><td")
                .attribute("colspan", &width.to_string());
            html.markup(">").text(self.empty).markup("</td></tr>");
        }
        html.markup("</tbody></table></div></section>");
    }

    /// How many rows there are: `200 of 5,312`, or the number alone.
    fn shown(&self, data: &Value, rows: usize) -> String {
        let number = |number: &Value| Format::Count.show(Some(number), 0).text;
        let total = self.total.and_then(|path| data.pointer(path));
        match total.filter(|total| total.as_u64() > u64::try_from(rows).ok()) {
            Some(total) => format!("{} of {}", number(&json!(rows)), number(total)),
            None if rows == 0 => String::new(),
            None => number(&json!(rows)),
        }
    }

    /// The key of a row. What comes from clients may be there twice, and a row is updated by its key.
    fn key(&self, row: &Map<String, Value>, seen: &mut HashMap<String, u32>) -> String {
        let parts = self.key.iter().map(|member| match row.get(*member) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        });
        let key = parts.collect::<Vec<_>>().join(" ");
        let count = seen.entry(key.clone()).or_default();
        *count += 1;
        if *count > 1 {
            format!("{key} #{count}")
        } else {
            key
        }
    }

    fn write_row(
        &self,
        html: &mut Html,
        row: &Map<String, Value>,
        now: i64,
        action: Option<&Action>,
        seen: &mut HashMap<String, u32>,
    ) {
        html.markup("<tr")
            .attribute("data-row", &self.key(row, seen))
            .markup(">");
        for column in self.columns {
            column.write_cell(html, row, now);
        }
        if let Some(action) = action {
            let of = action
                .of
                .iter()
                .map(|member| Format::Text.show(row.get(*member), now).text);
            let of = of.collect::<Vec<_>>().join(" ");
            html.markup("<td class=\"act\"><button type=\"button\"");
            html.attribute("data-do", action.name);
            html.attribute("aria-label", &format!("{}: {of}", action.label));
            html.markup(">").text(action.label).markup("</button></td>");
        }
        html.markup("</tr>");
    }
}

impl Column {
    /// The classes of its heading and its cells.
    fn class(&self) -> &'static str {
        match (self.format.is_number(), self.rank) {
            (true, Rank::Extra) => "number extra",
            (true, Rank::Side) => "number side",
            (true, _) => "number",
            (false, Rank::Extra) => "word extra",
            (false, Rank::Side) => "word side",
            (false, _) => "word",
        }
    }

    fn write_heading(&self, html: &mut Html, sorted: bool, order: Option<&'static str>) {
        html.markup("<th scope=\"col\"")
            .attribute("class", self.class());
        html.attribute("data-member", self.member)
            .attribute("data-format", self.format.name());
        if self.rank == Rank::Head {
            html.markup(" data-head");
        }
        if let Some(order) = order {
            html.attribute("data-api-order", order);
        }
        if sorted {
            html.markup(" aria-sort=\"descending\"");
        }
        html.markup("><button type=\"button\" data-order>")
            .text(self.label)
            .markup("</button></th>");
    }

    fn write_cell(&self, html: &mut Html, row: &Map<String, Value>, now: i64) {
        let Shown { text, title } = self.format.show(row.get(self.member), now);
        let is_head = self.rank == Rank::Head;
        html.markup(if is_head { "<th scope=\"row\"" } else { "<td" });
        html.attribute("class", self.class())
            .attribute("data-label", self.label);
        if let Some(title) = title {
            html.attribute("title", &title);
        }
        html.markup(">");
        if self.format == Format::State && text != NONE {
            html.markup("<span")
                .attribute("class", &format!("state {}", tone(&text)))
                .markup(">");
            html.text(&text).markup("</span>");
        } else {
            html.text(&text);
        }
        html.markup(if is_head { "</th>" } else { "</td>" });
    }
}
