// The module of the page: keeps the tables, facts and charts that the server has written up to date.
//
// What comes from the service becomes text and attributes alone (textContent, setAttribute), never markup. Tables are
// declared in Rust and read from their `data-` attributes here, so that both write a row in the same way; formats.json
// has examples that hold the formats of both.

const NONE = "–";
const MAX_TEXT = 160;
const MAX_TITLE = 2000;
const MAX_POINTS = 900;
const MAX_DENIALS = 200;
const MAX_BALANCES = 50;
/** How long the row of a closed tunnel stays, in milliseconds. */
const LINGER = 4000;
/** Without a snapshot for so long, the connection counts as lost, in milliseconds. */
const SILENCE = 5000;
/** How often what is not in the snapshots is asked for, in snapshots. */
const POLL = 5;

// ---------------------------------------------------------------------------------------------- formats

const DECEPTIVE =
  /[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;
const TONES = {
  up: "good", running: "good", works: "good", success: "good", admit: "good",
  closing: "warn", draining: "warn", partial: "warn", observe: "warn", waiting: "warn", queued: "warn",
  down: "bad", ejected: "bad", failure: "bad", failed: "bad", deny: "bad",
};

/** Characters that a reader cannot see, or that turn the order of others, as `\u{202e}`. */
const visible = (text) => text.replace(DECEPTIVE, (it) => `\\u{${it.codePointAt(0).toString(16)}}`);
const whole = (value) => (typeof value === "number" && value >= 0 ? Math.floor(value) : null);
/** From here on not every number can be told from its neighbours; what has such a limit has none. */
const UNLIMITED = 2 ** 53;
const grouped = (number) => number >= UNLIMITED ? "unlimited" : String(number).replace(/\B(?=(\d{3})+$)/g, ",");
const tone = (word) => (Object.hasOwn(TONES, word) ? TONES[word] : "plain");

function bytes(count) {
  if (count < 1024) return `${count} B`;
  let [unit, below] = ["B", 0];
  for (const name of ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]) {
    if (count < 1024) break;
    below = count % 1024;
    count = Math.floor(count / 1024);
    unit = name;
  }
  return `${count}.${Math.floor((below * 10) / 1024)} ${unit}`;
}

function seconds(count) {
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(count / unit));
  if (count < 60) return `${count}s`;
  if (count < 3600) return `${minutes}m ${count % 60}s`;
  if (count < 86400) return `${hours}h ${minutes % 60}m`;
  return `${days}d ${hours % 24}h`;
}

function milliseconds(value) {
  const tenths = (number) => {
    const count = Math.floor(number * 10 + 0.5);
    return `${Math.floor(count / 10)}.${count % 10}`;
  };
  if (value < 9.95) return `${tenths(value)} ms`;
  if (value < 999.5) return `${Math.floor(value + 0.5)} ms`;
  return `${tenths(value / 1000)} s`;
}

function text(value) {
  let all;
  if (typeof value === "string") all = value;
  else if (typeof value === "boolean") all = value ? "yes" : "no";
  else if (typeof value === "number") all = String(value);
  else if (Array.isArray(value)) all = value.filter((it) => typeof it === "string").join(", ");
  if (!all) return null;
  const characters = [...(all.length > MAX_TITLE * 2 ? all.slice(0, MAX_TITLE * 2) : all)];
  if (characters.length <= MAX_TEXT) return { text: visible(all) };
  return {
    text: `${visible(characters.slice(0, MAX_TEXT).join(""))}…`,
    title: visible(characters.slice(0, MAX_TITLE).join("")),
  };
}

/** A moment as milliseconds since 1970; null where the text is none. */
const moment = (value) => {
  const at = typeof value === "string" && RFC3339.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(at) ? null : at;
};

const number = (write) => (value) => {
  const it = whole(value);
  return it === null ? null : { text: write(it) };
};

const FORMATS = {
  text,
  state: text,
  count: number(grouped),
  bytes: number(bytes),
  rate: number((count) => `${bytes(count)}/s`),
  seconds: number(seconds),
  elapsed: (value) => {
    if (typeof value === "number" && value < 60) return { text: milliseconds(value * 1000) };
    return FORMATS.seconds(value);
  },
  milliseconds: (value) => (typeof value === "number" ? { text: milliseconds(value) } : null),
  ago(value, now) {
    const at = moment(value);
    if (at === null) return null;
    return { text: `${seconds(Math.max(0, now - Math.floor(at / 1000)))} ago`, title: visible(value) };
  },
  clock(value, now) {
    const at = moment(value);
    if (at === null) return null;
    const [day, time] = new Date(at).toISOString().split("T");
    const isToday = new Date(now * 1000).toISOString().startsWith(day);
    return { text: isToday ? time.slice(0, 8) : `${day.slice(5)} ${time.slice(0, 5)}`, title: visible(value) };
  },
};

/** A value as the page shows it; `now` is the time of the snapshot, in seconds since 1970. */
export function show(format, value, now) {
  const shown = value === undefined || value === null ? null : FORMATS[format](value, now);
  return shown ?? { text: NONE };
}

// ---------------------------------------------------------------------------------------------- documents

const $ = (id) => document.getElementById(id);

/** An element with attributes and children; a string becomes text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** Sets the text where it is another one, so that a selection stays. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (value === undefined || value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** What is at a JSON pointer. */
function at(data, pointer) {
  let found = data;
  for (const name of pointer.split("/").slice(1)) {
    if (found === null || typeof found !== "object" || !Object.hasOwn(found, name)) return undefined;
    found = found[name];
  }
  return found;
}

const timeOf = (data) => whole(at(data, "/snapshot/now/time")) ?? 0;
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const objects = (value) => (Array.isArray(value) ? value.filter(isObject) : []);

/** Moves a row without losing its focus, where the browser can. */
function place(parent, node, before) {
  if (node.nextSibling === before && node.parentNode === parent) return;
  if (parent.moveBefore && node.isConnected && parent.isConnected) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

/** Writes every single value of a document. */
export function drawFacts(root, data) {
  for (const node of root.querySelectorAll("[data-value]")) {
    // It shows another second, to which the pointer is.
    if (node.closest(".past")) continue;
    const format = node.dataset.format;
    const shown = show(format, at(data, node.dataset.value), timeOf(data));
    setText(node, shown.text);
    setAttribute(node, "title", shown.title);
    if (format === "state") setAttribute(node, "class", `state ${shown.text === NONE ? "plain" : tone(shown.text)}`);
  }
}

// ---------------------------------------------------------------------------------------------- tables

export class Table {
  constructor(table) {
    const { path, shape, key, limit, empty, sort, api, total, action, actionLabel, actionOf } = table.dataset;
    Object.assign(this, { table, path, shape, empty, sort, api, total, action, actionLabel });
    this.name = table.dataset.table;
    this.key = key.split(" ");
    this.actionOf = (actionOf ?? "").split(" ");
    this.limit = Number(limit);
    this.body = table.tBodies[0];
    this.section = table.closest("section");
    this.columns = [...table.tHead.querySelectorAll("th[data-member]")].map((heading) => ({
      heading,
      member: heading.dataset.member,
      format: heading.dataset.format,
      label: heading.textContent,
      class: heading.className,
      isHead: "head" in heading.dataset,
      apiOrder: heading.dataset.apiOrder,
    }));
    this.width = this.columns.length + (action ? 1 : 0);
    this.shown = this.section.querySelector("[data-shown]");
    this.search = this.section.querySelector("[data-search]");
    this.query = "";
    /** Another order than the table's own, and its name in the API. */
    this.order = null;
    this.apiOrder = undefined;
    /** Rows that were asked for, in place of those of the snapshot. */
    this.answer = null;
    /** Tunnels that are being closed, by key. */
    this.closing = new Map();
    /** The rows as elements, by key. */
    this.rows = new Map();
    for (const row of this.body.querySelectorAll("tr[data-row]")) this.rows.set(row.dataset.row, { row });
  }

  /** Listens to the heading and the search. */
  wire(redraw) {
    for (const column of this.columns) {
      column.heading.querySelector("button").addEventListener("click", () => {
        this.turn(column);
        redraw(this);
      });
    }
    this.search?.addEventListener("input", () => {
      this.query = this.search.value.trim().toLowerCase();
      this.answer = null;
      redraw(this);
    });
  }

  /** Orders by a column; once more turns the order around. */
  turn(column) {
    const current = column.heading.getAttribute("aria-sort");
    const first = column.class.startsWith("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const direction = current === first ? other : first;
    for (const { heading } of this.columns) heading.removeAttribute("aria-sort");
    column.heading.setAttribute("aria-sort", direction);
    const isOwn = column.member === this.sort && direction === "descending";
    this.order = isOwn ? null : { member: column.member, down: direction === "descending" };
    // The API has one direction of each order: the most first, and words from their beginning.
    this.apiOrder = isOwn || direction !== first ? undefined : column.apiOrder;
    this.answer = null;
  }

  /** All rows of the data, as the declaration says. */
  all(data) {
    const found = at(this.answer ? this.answer : data, this.answer ? `/${this.name}` : this.path);
    switch (this.answer ? "list" : this.shape) {
      case "counts":
        return isObject(found) ? Object.keys(found).sort().map((name) => ({ name, count: found[name] })) : [];
      case "pools":
        return objects(found).flatMap((pool) => objects(pool.upstreams).map((row) => ({ ...row, pool: pool.pool })));
      default:
        return objects(found);
    }
  }

  /** Those that are shown, in their order. */
  chosen(data) {
    let rows = this.all(data);
    // An answer has what was searched for, perhaps in a member that has no column.
    if (this.query && !this.answer) {
      const has = (row) => this.columns.some(({ member }) => String(row[member] ?? "").toLowerCase().includes(this.query));
      rows = rows.filter(has);
    }
    if (this.order) {
      const { member, down } = this.order;
      rows = rows.toSorted((a, b) => compare(a[member], b[member], down));
    } else if (this.sort) {
      const value = (row) => (typeof row[this.sort] === "number" ? row[this.sort] : -1);
      rows = rows.toSorted((a, b) => value(b) - value(a));
    }
    return rows.slice(0, this.limit);
  }

  /** How many rows there are in all, where that is known. */
  count(data) {
    if (this.answer) return whole(this.answer.total);
    return this.total ? whole(at(data, this.total)) : null;
  }

  /** Where to ask for rows that the snapshot does not have; null where it has all that are wanted. */
  wanted(data) {
    if (!this.api || (!this.apiOrder && !(this.query && this.search))) return null;
    const total = this.total ? whole(at(data, this.total)) : null;
    const isComplete = total !== null ? total <= objects(at(data, this.path)).length : objects(at(data, this.path)).length < this.limit;
    if (isComplete) return null;
    const parameters = new URLSearchParams({ limit: String(this.limit) });
    if (this.query && this.search) parameters.set("q", this.query);
    if (this.apiOrder) parameters.set("sort", this.apiOrder);
    return `${this.api}?${parameters}`;
  }

  get isUnderPointer() {
    return matchMedia("(hover: hover)").matches && this.body.matches(":hover");
  }

  /** Whether rows keep their places, since someone is about to click or copy. */
  get isHeld() {
    const active = document.activeElement;
    if (active && this.body.contains(active) && active.matches(":focus-visible")) return true;
    if (this.isUnderPointer) return true;
    const selection = getSelection();
    return !selection.isCollapsed && this.body.contains(selection.anchorNode);
  }

  /** Writes the rows. */
  draw(data) {
    const rows = this.chosen(data);
    const now = timeOf(data);
    const seen = new Map();
    const order = [];
    const kept = new Set();
    for (const row of rows) {
      const key = this.keyOf(row, seen);
      const entry = this.rows.get(key) ?? this.make(key);
      this.fill(entry, row, now);
      order.push(entry);
      kept.add(key);
    }
    const isHeld = this.isHeld;
    for (const [key, entry] of this.rows) {
      if (!kept.has(key)) this.leave(key, entry, isHeld);
    }
    this.arrange(order, isHeld);
    this.say(data, rows.length);
  }

  keyOf(row, seen) {
    const part = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value));
    const key = this.key.map((member) => part(row[member])).join(" ");
    const count = (seen.get(key) ?? 0) + 1;
    seen.set(key, count);
    return count > 1 ? `${key} #${count}` : key;
  }

  make(key) {
    const row = element("tr", { "data-row": key });
    for (const column of this.columns) {
      const name = column.isHead ? "th" : "td";
      const scope = column.isHead ? { scope: "row" } : {};
      row.append(element(name, { ...scope, class: column.class, "data-label": column.label }));
    }
    if (this.action) {
      const button = element("button", { type: "button", "data-do": this.action, "aria-label": "" }, this.actionLabel);
      row.append(element("td", { class: "act" }, button));
    }
    const entry = { row };
    this.rows.set(key, entry);
    return entry;
  }

  fill(entry, values, now) {
    entry.values = values;
    entry.row.classList.remove("gone");
    if (entry.row.className === "") entry.row.removeAttribute("class");
    const isClosing = this.closing.has(entry.row.dataset.row);
    this.columns.forEach((column, index) => {
      const value = isClosing && column.member === "state" ? "closing" : values[column.member];
      this.fillCell(entry.row.cells[index], column.format, show(column.format, value, now));
    });
    if (this.action) {
      const of = this.actionOf.map((member) => show("text", values[member], now).text).join(" ");
      const button = entry.row.lastElementChild.firstElementChild;
      setAttribute(button, "aria-label", `${this.actionLabel}: ${of}`);
      if (button.disabled !== isClosing) button.disabled = isClosing;
    }
  }

  fillCell(cell, format, shown) {
    setAttribute(cell, "title", shown.title);
    if (format !== "state" || shown.text === NONE) {
      setText(cell, shown.text);
      return;
    }
    let mark = cell.firstElementChild;
    if (!mark) {
      cell.textContent = "";
      mark = cell.appendChild(element("span"));
    }
    setAttribute(mark, "class", `state ${tone(shown.text)}`);
    setText(mark, shown.text);
  }

  /** A row that the data no longer has goes; one that someone looks at, or has closed, a little later. */
  leave(key, entry, isHeld) {
    const { row } = entry;
    entry.since ??= performance.now();
    const wasClosed = this.closing.has(key);
    if (wasClosed || isHeld) {
      row.classList.add("gone");
      const index = this.columns.findIndex(({ member }) => member === "state");
      if (index >= 0) this.fillCell(row.cells[index], "state", { text: "closed" });
      for (const button of row.querySelectorAll("[data-do]")) button.disabled = true;
      if (!wasClosed || performance.now() - entry.since < LINGER || this.isUnderPointer) return;
    }
    const hadFocus = row.contains(document.activeElement);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    entry.detail?.remove();
    row.remove();
    this.rows.delete(key);
    this.closing.delete(key);
    if (hadFocus) (next?.querySelector("button:not(:disabled)") ?? this.search ?? $("main")).focus();
  }

  /** Puts the rows in their order. */
  arrange(order, isHeld) {
    let before = this.body.firstElementChild;
    const pass = () => {
      while (before && !(before.dataset.row && !before.classList.contains("gone"))) before = before.nextElementSibling;
    };
    for (const entry of order) {
      entry.since = undefined;
      pass();
      if (before === entry.row) before = before.nextElementSibling;
      else if (!entry.row.isConnected && entry.row.parentNode !== this.body) this.body.insertBefore(entry.row, isHeld ? null : before);
      else if (!isHeld) place(this.body, entry.row, before);
      if (entry.detail && entry.row.nextElementSibling !== entry.detail) {
        if (before === entry.detail) before = before.nextElementSibling;
        place(this.body, entry.detail, entry.row.nextElementSibling);
      }
    }
    const empty = this.body.querySelector("tr.empty");
    if (this.rows.size > 0) empty?.remove();
    else {
      const message = this.query ? `Nothing matches “${visible(this.query)}”.` : this.empty;
      if (empty) setText(empty.firstElementChild, message);
      else this.body.append(element("tr", { class: "empty" }, element("td", { colspan: String(this.width) }, message)));
    }
  }

  /** Says how many rows there are. */
  say(data, count) {
    const total = this.count(data);
    const isPart = total !== null && total > count;
    setText(this.shown, isPart ? `${grouped(count)} of ${grouped(total)}` : count === 0 ? "" : grouped(count));
  }
}

/** Compares two values of a column; one that is missing comes last. */
function compare(a, b, down) {
  const isMissing = (value) => value === undefined || value === null || value === "";
  if (isMissing(a) || isMissing(b)) return Number(isMissing(a)) - Number(isMissing(b));
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : Number(a !== b);
  return down ? -order : order;
}

// ---------------------------------------------------------------------------------------------- charts

/** Steps of an axis: 1, 2, 5, 10 … or powers of two. */
const DECIMAL = Array.from({ length: 40 }, (_, index) => [1, 2, 5][index % 3] * 10 ** Math.floor(index / 3));
const BINARY = Array.from({ length: 60 }, (_, index) => 2 ** index);

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.format = figure.dataset.format;
    this.series = [...figure.querySelectorAll("[data-series]")].map((node) => ({
      member: node.dataset.series,
      value: node.querySelector("[data-value]"),
      colour: node.className,
    }));
    new ResizeObserver(() => this.chart?.setSize(this.size())).observe(this.plot);
  }

  size() {
    return { width: Math.max(120, this.plot.clientWidth), height: Math.max(60, this.plot.clientHeight) };
  }

  columns(history) {
    return [history.time, ...this.series.map(({ member }) => history[member])];
  }

  /** Makes the chart anew, with the colours that hold now. */
  make(history) {
    this.chart?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {
      stroke: colour("muted"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
      gap: 4,
    };
    const incrs = this.format === "rate" ? BINARY : this.format === "count" ? DECIMAL : undefined;
    const options = {
      ...this.size(),
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
      padding: [6, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "tollgate" }, drag: { x: false, y: false }, y: false, points: { size: 5 } },
      scales: {
        x: { time: true, range: () => [this.from, this.until] },
        y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] },
      },
      axes: [
        { ...axis, size: 20, space: 70, values: (_, ticks, __, ___, step) => ticks.map((time) => clock(time, step < 60)) },
        { ...axis, size: this.format === "rate" ? 70 : 46, space: 24, incrs, values: (_, ticks) => ticks.map((it) => show(this.format, it, 0).text) },
      ],
      series: [
        {},
        ...this.series.map(({ colour: name }, index) => ({
          stroke: colour(name),
          fill: index === 0 ? `${colour(name)}22` : undefined,
          width: 1.25,
          points: { show: false },
        })),
      ],
      hooks: { setCursor: [(chart) => this.point(chart.cursor.idx)] },
    };
    this.look(history);
    this.chart = new uPlot(options, this.columns(history), this.plot);
  }

  /** Chooses the time that is shown: all of the history, and two minutes at least. */
  look(history) {
    this.history = history;
    this.until = lastOf(history.time) ?? Math.floor(Date.now() / 1000);
    const oldest = Math.min(history.time[0] ?? this.until, this.until - 120);
    this.from = Math.max(oldest, this.until - MAX_POINTS);
  }

  draw(history) {
    this.look(history);
    this.chart?.setData(this.columns(history));
  }

  /** Shows the values under the pointer in place of those of now. */
  point(index) {
    const isOver = typeof index === "number" && this.chart?.cursor.left >= 0;
    this.figure.classList.toggle("past", isOver);
    if (!isOver) {
      if (this.isOver) drawFacts(this.figure, state.data);
      this.isOver = false;
      return;
    }
    this.isOver = true;
    for (const { member, value } of this.series) setText(value, show(this.format, this.history[member]?.[index], 0).text);
  }
}

/** The time of day, with seconds where they matter. */
const clock = (time, hasSeconds) => new Date(time * 1000).toISOString().slice(11, hasSeconds ? 19 : 16);
const lastOf = (list) => list[list.length - 1];

// ---------------------------------------------------------------------------------------------- the service

const state = {
  data: JSON.parse($("data").textContent),
  history: { time: [] },
  tables: new Map(),
  charts: [],
  snapshots: 0,
  /** When the last snapshot came, by performance.now(). */
  heard: performance.now(),
  retry: 1000,
  stream: null,
  /** Answers to actions, until they are dismissed: by text, with their tone. */
  answers: new Map(),
};

/** The URL of a path. That of the page may have credentials, with which nothing can be fetched. */
const here = (path) => new URL(path, location.origin);

/** Asks the API; an error has the text of the service. */
async function api(method, path, body) {
  const headers = { Accept: "application/json" };
  // The service takes changes with this field alone, which no page of another origin can send.
  if (method !== "GET") headers["Tollgate-Request"] = "1";
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(here(path), {
    method,
    headers,
    body: body && JSON.stringify(body),
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(15000),
  });
  const text = await answer.text();
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    content = null;
  }
  if (!answer.ok) {
    const reasons = objects([content]).flatMap((it) => it.message ?? it.problems ?? []);
    throw new Error(reasons.length ? reasons.join("; ") : `the service answered ${answer.status}`);
  }
  return content;
}

const draw = () => {
  if (document.hidden) return;
  drawFacts(document, state.data);
  for (const table of state.tables.values()) table.draw(state.data);
  for (const chart of state.charts) if (!chart.isOver) chart.draw(state.history);
  setText($("time"), clock(timeOf(state.data), true));
  drawNotices();
};

/** Takes over a snapshot, and asks for what it does not have. */
function take(snapshot) {
  state.data.snapshot = snapshot;
  const point = snapshot.now;
  if (isObject(point) && point.time > (lastOf(state.history.time) ?? 0)) {
    for (const [member, column] of Object.entries(state.history)) {
      column.push(point[member] ?? null);
      if (column.length > MAX_POINTS) column.shift();
    }
  }
  draw();
  for (const table of state.tables.values()) refine(table);
  state.snapshots += 1;
  if (state.snapshots % POLL === 0) poll();
  // These change so quickly that they are asked for only while they can be seen.
  if (isVisible($("requests"))) lookAtRequests();
}

function isVisible(node) {
  const { top, bottom } = node.getBoundingClientRect();
  return !document.hidden && bottom > 0 && top < innerHeight;
}

async function lookAtRequests() {
  if (state.looking) return;
  state.looking = true;
  try {
    state.data.requests = await api("GET", "/api/v1/requests?limit=50");
    state.tables.get("requests").draw(state.data);
  } catch {
    // The next snapshot asks again.
  } finally {
    state.looking = false;
  }
}

/** Asks for the rows of a search or an order that the snapshot cannot answer. */
async function refine(table) {
  const path = table.wanted(state.data);
  if (!path) {
    table.answer = null;
    return;
  }
  if (table.asking === path) return;
  table.asking = path;
  try {
    const answer = await api("GET", path);
    if (table.wanted(state.data) === path) {
      table.answer = answer;
      table.draw(state.data);
    }
  } catch {
    // The rows of the snapshot stay, and the next one asks again.
  } finally {
    table.asking = null;
  }
}

/** What is not in the snapshots. A part that cannot be had stays as it is. */
async function poll() {
  const parts = { status: "status", denials: `denials?limit=${MAX_DENIALS}` };
  // To list them visits every ledger, so they are asked for only while they can be seen.
  if (isVisible($("quotas"))) parts.quotas = `quotas?limit=${MAX_BALANCES}`;
  const asked = Object.entries(parts).map(async ([name, path]) => {
    const answer = await api("GET", `/api/v1/${path}`);
    state.data[name] = answer;
  });
  await Promise.allSettled(asked);
  draw();
}

async function loadHistory() {
  const { points } = await api("GET", "/api/v1/history");
  state.history = points;
  for (const chart of state.charts) if (chart.chart) chart.draw(points);
    else chart.make(points);
}

function listen() {
  state.stream?.close();
  const stream = new EventSource(here("/api/v1/events"));
  state.stream = stream;
  const on = (name, handle) =>
    stream.addEventListener(name, (event) => {
      if (state.stream === stream) handle(JSON.parse(event.data));
    });
  on("snapshot", (snapshot) => {
    state.heard = performance.now();
    state.retry = 1000;
    setLive(true);
    take(snapshot);
  });
  on("denial", (denial) => {
    const { denials } = state.data;
    const known = objects(denials?.denials);
    state.data.denials = { ...denials, denials: [denial, ...known].slice(0, MAX_DENIALS), total: (whole(denials?.total) ?? known.length) + 1 };
  });
  stream.addEventListener("open", () => {
    // The connection may have been away for a while.
    loadHistory().catch(() => {});
    poll();
  });
  stream.addEventListener("error", () => {
    if (state.stream !== stream) return;
    setLive(false);
    // The browser retries by itself, but not after an answer that is an error.
    if (stream.readyState === EventSource.CLOSED) retry();
  });
}

function retry() {
  if (state.waiting) return;
  state.waiting = setTimeout(() => {
    state.waiting = null;
    listen();
  }, state.retry);
  state.retry = Math.min(state.retry * 2, 15000);
}

function setLive(isLive, reason) {
  document.documentElement.classList.toggle("lost", !isLive);
  setText($("live-text"), isLive ? "live" : "not live since");
  state.isLost = !isLive;
  drawNotices();
}

/** Looks whether snapshots come. */
function watch() {
  if (document.hidden || performance.now() - state.heard < SILENCE) return;
  setLive(false);
  if (state.stream?.readyState === EventSource.OPEN) {
    state.heard = performance.now();
    listen();
  }
}

// ---------------------------------------------------------------------------------------------- notices

/** What an operator should know now: pairs of a tone and a text. */
function notices(data) {
  const found = objects(data.status?.attention).map(({ severity, text }) => [severity, `${text}`]);
  if (state.isLost) found.unshift(["bad", "The connection to Tollgate is lost. What is shown is old; the page tries again."]);
  return found;
}

function drawNotices() {
  const all = [...notices(state.data).map(([tone, text]) => ({ tone, text })), ...[...state.answers].map(([text, tone]) => ({ tone, text, isAnswer: true }))];
  const box = $("notices");
  const shown = new Map([...box.children].map((node) => [node.firstChild.textContent, node]));
  for (const { tone, text, isAnswer } of all) {
    if (shown.delete(text)) continue;
    const notice = element("p", { class: `notice ${tone}` }, element("span", {}, text));
    if (isAnswer) {
      const dismiss = element("button", { type: "button" }, "Dismiss");
      dismiss.addEventListener("click", () => {
        state.answers.delete(text);
        drawNotices();
      });
      notice.append(dismiss);
    }
    box.append(notice);
  }
  for (const node of shown.values()) node.remove();
}

/** Tells the answer to an action. */
function answer(tone, text) {
  state.answers.delete(text);
  state.answers.set(text, tone);
  if (state.answers.size > 4) state.answers.delete(state.answers.keys().next().value);
  drawNotices();
}

/** Says something to screen readers. */
const say = (text) => setText($("said"), text);

// ---------------------------------------------------------------------------------------------- actions

/** Answers the question that is open. */
let answered = () => {};

$("confirm").addEventListener("close", ({ target }) => {
  // It is told late: another question may be open by now.
  if (!target.open) answered(target.returnValue === "yes");
});

/** Asks before something is changed. */
function confirm(title, text, yes) {
  const dialog = $("confirm");
  answered(false);
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => (answered = resolve));
}

async function close(table, key, entry) {
  const written = (member, format) => show(format, entry.values[member], timeOf(state.data)).text;
  const [user, target] = [written("user", "text"), written("target", "text")];
  const carried = `open for ${written("age_seconds", "seconds")}, ${written("bytes_from_client", "bytes")} sent, ${written("bytes_from_upstream", "bytes")} received`;
  if (!(await confirm("Close this tunnel?", `${user} to ${target}: ${carried}. Its client and its server see the connection end.`, "Close the tunnel"))) return;
  try {
    table.closing.set(key, true);
    table.draw(state.data);
    await api("DELETE", `/api/v1/tunnels/${encodeURIComponent(entry.values.id)}`);
    say(`The tunnel of ${user} to ${target} is closed.`);
  } catch (error) {
    table.closing.delete(key);
    answer("bad", `The tunnel of ${user} to ${target} was not closed: ${error.message}`);
  }
  table.draw(state.data);
}

async function explain(table, entry, button) {
  if (entry.detail) {
    entry.detail.remove();
    entry.detail = null;
    button.setAttribute("aria-expanded", "false");
    return;
  }
  const cell = element("td", { colspan: String(table.width) }, element("p", {}, "Evaluating the policy as it is now …"));
  entry.detail = element("tr", { class: "detail" }, cell);
  entry.row.after(entry.detail);
  button.setAttribute("aria-expanded", "true");
  const { target, user, client, method, role } = entry.values;
  await ask(cell, { target, user, client: addressOf(client), method: role === "tunnel" ? undefined : method });
}

/** The address of a client without its port. */
const addressOf = (client) => /^\[(.+)\]:\d+$/.exec(client)?.[1] ?? /^([\d.]+):\d+$/.exec(client)?.[1] ?? client;

/** Has the service explain a request, and shows what it says in a place. */
async function ask(place, question) {
  try {
    place.replaceChildren(...explained(await api("POST", "/api/v1/explain", question)));
  } catch (error) {
    place.replaceChildren(element("p", {}, `It cannot be explained: ${visible(error.message)}`));
  }
}

/** The form for any request. */
async function askByForm(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  const fields = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  await ask($("explanation"), Object.fromEntries(fields.filter(([, value]) => value)));
  button.disabled = false;
}

const OUTCOMES = {
  no_match: "does not match",
  needs_address: "depends on the address",
  observes: "would deny, and only observes",
  decides: "decides",
};

/** An explanation, as `tollgate explain --json` prints it, as elements. */
function explained(explanation) {
  const written = (value) => show("text", value, 0).text;
  const { decision, rule, status, reason, message, user, target, rules, addresses } = explanation;
  const word = decision === "depends_on_address" ? "depends on the address" : written(decision);
  const verdict = element("p", { class: "verdict" }, element("span", { class: `state ${tone(word)}` }, word), " by ", element("strong", {}, written(rule)));
  const more = [status && `status ${written(status)}`, reason && written(reason), message && `“${written(message)}”`].filter(Boolean);
  if (more.length) verdict.append(`, ${more.join(", ")}`);
  verdict.append(`, for ${written(user)} to ${written(target)}, by the policy of now.`);
  const list = element("ol", { class: "evaluated" });
  const item = (it) => {
    const made = element("li", {}, element("strong", {}, written(it.rule)), ` (${written(it.action)}) ${OUTCOMES[it.outcome] ?? written(it.outcome)}`);
    if (it.matcher) made.append(` by ${written(it.matcher)}${it.value === undefined ? "" : ` (${written(it.value)})`}`);
    if (it.error) made.append(`; its expression fails: ${written(it.error)}`);
    return made;
  };
  list.append(...objects(rules).slice(0, 100).map(item));
  for (const it of objects(addresses).slice(0, 16)) {
    const decision = written(typeof it.decision === "string" ? it.decision : undefined);
    list.append(element("li", {}, `${written(it.address)}: ${decision} by ${written(it.rule)}`));
  }
  const notes = (Array.isArray(explanation.notes) ? explanation.notes : []).map((note) => element("p", { class: "note" }, written(note)));
  return list.children.length ? [verdict, list, ...notes] : [verdict, ...notes];
}

async function reload() {
  try {
    const { users, rules, applied, restart_needed: waiting } = await api("POST", "/api/v1/reload");
    const changed = applied?.length ? `applied: ${applied.join(", ")}` : "nothing had changed";
    const rest = waiting?.length ? `; after a restart: ${waiting.join(", ")}` : "";
    answer(waiting?.length ? "warn" : "good", `Reloaded ${grouped(users)} users and ${grouped(rules)} rules; ${changed}${rest}.`);
  } catch (error) {
    answer("bad", `The reload failed, and changed nothing: ${visible(error.message)}`);
  }
  poll();
}

async function drain() {
  const text = "It accepts no further connections, lets requests finish, and ends. Another process has to serve.";
  if (!(await confirm("Drain this process?", text, "Drain"))) return;
  try {
    await api("POST", "/api/v1/drain");
  } catch (error) {
    answer("bad", `The process does not drain: ${visible(error.message)}`);
  }
  poll();
}

async function act(button) {
  const row = button.closest("tr[data-row]");
  const table = row && state.tables.get(row.closest("table").dataset.table);
  const entry = table?.rows.get(row.dataset.row);
  switch (button.dataset.do) {
    case "close":
      if (entry?.values) await close(table, row.dataset.row, entry);
      break;
    case "explain":
      if (entry?.values) await explain(table, entry, button);
      break;
    case "columns": {
      const isFull = button.closest("section").querySelector("table").classList.toggle("full");
      button.setAttribute("aria-pressed", String(isFull));
      break;
    }
    case "reload":
    case "drain":
      button.disabled = true;
      await (button.dataset.do === "reload" ? reload() : drain());
      button.disabled = false;
      break;
  }
}

// ---------------------------------------------------------------------------------------------- start

function start() {
  const redraw = (table) => {
    table.draw(state.data);
    refine(table);
  };
  for (const node of document.querySelectorAll("table[data-table]")) {
    const table = new Table(node);
    table.wire(redraw);
    table.draw(state.data);
    state.tables.set(table.name, table);
  }
  state.charts = [...document.querySelectorAll(".chart")].map((figure) => new Chart(figure));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) act(button);
  });
  $("question").addEventListener("submit", (event) => {
    event.preventDefault();
    askByForm(event.target);
  });
  document.addEventListener("visibilitychange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of state.charts) if (chart.chart) chart.make(state.history);
  });
  document.documentElement.classList.add("scripted");
  drawNotices();
  setInterval(watch, 1000);
  listen();
}

start();
