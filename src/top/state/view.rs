//! The rows of a tab: which of them are seen, in which order, and which is selected. Pure.

use std::cmp::Ordering;

use url::form_urlencoded;

use crate::top::facts::Facts;
use crate::top::lists::{Column, Tab};

/// The rows of one tab.
#[derive(Debug)]
pub(in crate::top) struct View {
    pub(in crate::top) tab: Tab,
    rows: Vec<Facts>,
    /// Those that match the filter, as places in `rows`, in their order.
    seen: Vec<usize>,
    /// How many there are, if the service says.
    total: Option<u64>,
    /// The column, and whether the largest come first.
    sort: (usize, bool),
    filter: String,
    /// Why the service does not tell the rows.
    refusal: Option<String>,
    /// A place in `seen`.
    selected: usize,
    /// What tells the selected row from others, once one was chosen. The selection stays with it.
    key: Option<String>,
    /// The first row on the screen, as a place in `seen`.
    first: usize,
}

impl View {
    pub(super) fn new(tab: Tab) -> Self {
        Self {
            tab,
            rows: Vec::new(),
            seen: Vec::new(),
            total: None,
            sort: tab.list().map_or((0, false), |list| list.sort),
            filter: String::new(),
            refusal: None,
            selected: 0,
            key: None,
            first: 0,
        }
    }

    /// All rows, as the service sent them.
    pub(in crate::top) fn rows(&self) -> &[Facts] {
        &self.rows
    }

    /// The columns of the tab.
    pub(in crate::top) fn columns(&self) -> &'static [Column] {
        self.tab.list().map_or(&[], |list| list.columns)
    }

    pub(in crate::top) fn total(&self) -> Option<u64> {
        self.total
    }

    pub(in crate::top) fn filter(&self) -> &str {
        &self.filter
    }

    /// The column that it is sorted by, and whether the largest come first.
    pub(in crate::top) fn sort(&self) -> (usize, bool) {
        self.sort
    }

    /// How many rows match.
    pub(in crate::top) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The place of the selected row among those that match.
    pub(in crate::top) fn selected_place(&self) -> usize {
        self.selected
    }

    /// The first row that is on a screen of so many.
    pub(in crate::top) fn first(&self, page: usize) -> usize {
        let page = page.max(1);
        let least = self.selected.saturating_sub(page - 1);
        let last = self.seen.len().saturating_sub(page);
        self.first.clamp(least, self.selected).min(last)
    }

    /// The rows that match, in their order.
    pub(in crate::top) fn seen(&self) -> impl Iterator<Item = &Facts> {
        self.seen.iter().filter_map(|place| self.rows.get(*place))
    }

    /// The selected row.
    pub(in crate::top) fn selected(&self) -> Option<&Facts> {
        self.rows.get(*self.seen.get(self.selected)?)
    }

    /// Where its rows are asked for; none when they are in each snapshot.
    pub(super) fn path(&self, limit: usize) -> Option<String> {
        let (path, is_filtered) = self.tab.list()?.ask?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        // The service has one direction for each order: with the other one, all that it gives is sorted here.
        let column = self.columns().get(self.sort.0);
        if let Some(order) = column.and_then(|column| column.order.first()) {
            query.append_pair("sort", order);
        }
        if is_filtered && !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        Some(format!("{path}?{}", query.finish()))
    }

    pub(super) fn replace(&mut self, rows: Vec<Facts>, total: Option<u64>) {
        self.rows = rows;
        self.total = total;
        self.refusal = None;
        self.arrange();
    }

    /// The service does not tell the rows now. Those that are known stay.
    pub(super) fn refuse(&mut self, why: String) {
        self.refusal = Some(why);
    }

    pub(in crate::top) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    /// Sorts by the next column, or the one before; numbers begin with the largest.
    pub(super) fn sort_by(&mut self, step: isize) {
        let columns = self.columns();
        let count = isize::try_from(columns.len()).unwrap_or_default();
        let place = isize::try_from(self.sort.0).unwrap_or_default();
        let Some(next) = place.saturating_add(step).checked_rem_euclid(count) else {
            return;
        };
        let next = usize::try_from(next).unwrap_or_default();
        self.sort = (next, columns.get(next).is_some_and(Column::is_number));
        self.arrange();
    }

    pub(super) fn reverse(&mut self) {
        self.sort.1 = !self.sort.1;
        self.arrange();
    }

    /// Moves the selection.
    pub(super) fn select(&mut self, place: usize, page: usize) {
        self.selected = place.min(self.seen.len().saturating_sub(1));
        self.first = self.first(page);
        let list = self.tab.list();
        let key = self.selected().zip(list).map(|(row, list)| list.key(row));
        self.key = key.map(str::to_owned);
    }

    /// Finds what matches, and its order; the selection stays with its row.
    fn arrange(&mut self) {
        let Some(list) = self.tab.list() else {
            return;
        };
        let wanted = self.filter.to_lowercase();
        let rows = &self.rows;
        let matches = |(place, row): (usize, &Facts)| list.matches(row, &wanted).then_some(place);
        self.seen = rows.iter().enumerate().filter_map(matches).collect();
        let (place, is_falling) = self.sort;
        if let Some(column) = list.columns.get(place) {
            let order = |a: &usize, b: &usize| match (rows.get(*a), rows.get(*b)) {
                (Some(a), Some(b)) if is_falling => column.order_of(b, a),
                (Some(a), Some(b)) => column.order_of(a, b),
                _ => Ordering::Equal,
            };
            self.seen.sort_by(order);
        }
        let kept = self.key.as_deref().and_then(|key| {
            let is_same = |place: &usize| rows.get(*place).is_some_and(|row| list.key(row) == key);
            self.seen.iter().position(is_same)
        });
        let last = self.seen.len().saturating_sub(1);
        self.selected = kept.unwrap_or(self.selected).min(last);
    }
}
