"""Charts as SVG, with the standard library alone: horizontal bars and lines.

A style sheet inside each file follows prefers-color-scheme, so that one file is
readable on light and on dark pages. Renderers that know no media queries show
the light one.
"""

import math
from xml.sax.saxutils import escape

# (light, dark) of each proxy.
COLOURS = {
    "tollgate": ("#d9480f", "#ff8a4c"),
    "nginx": ("#2b8a3e", "#69db7c"),
    "haproxy": ("#1864ab", "#74c0fc"),
    "apache": ("#a61e4d", "#faa2c1"),
    "squid": ("#6741d9", "#b197fc"),
    "tinyproxy": ("#846358", "#c4a79a"),
    "bare-pingora": ("#b08900", "#ffe066"),
    "bare-tokio": ("#b08900", "#ffe066"),
    "direct": ("#868e96", "#868e96"),
}

FONT = 'ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif'


def style():
    def rules(index):
        return "".join(
            f" .{name} {{ fill: {both[index]}; }} .line.{name} {{ stroke: {both[index]}; fill: none; }}"
            for name, both in COLOURS.items()
        )

    return (
        f"<style> text {{ font: 12px {FONT}; fill: #212529; }} .title {{ font-size: 15px; font-weight: 600; }}"
        " .panel { font-weight: 600; } .dim { fill: #5c636a; } .page { fill: #ffffff; }"
        " .grid { stroke: #dee2e6; stroke-width: 1; } .line { stroke-width: 2; } .own { stroke-width: 3; }"
        " .whisker { stroke: #212529; stroke-width: 1; } .forward, .dashed { opacity: 0.6; }"
        f" .dashed {{ stroke-dasharray: 5 4; }}{rules(0)}"
        " @media (prefers-color-scheme: dark) { text { fill: #e9ecef; } .dim { fill: #a9b0b7; }"
        f" .page {{ fill: #16191d; }} .grid {{ stroke: #343a40; }} .whisker {{ stroke: #e9ecef; }}{rules(1)} }}"
        " </style>"
    )


def document(width, height, title, body):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">\n<title>{escape(title)}</title>\n{style()}\n'
        f'<rect class="page" width="{width}" height="{height}" rx="6"/>\n'
        + "\n".join(body) + "\n</svg>\n"
    )


def text(x, y, content, classes="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{escape(content)}</text>'


def short(value):
    """A figure that fits beside a mark."""
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 1e4:
        return f"{value / 1e3:.3g}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def bars(title, note, panels):
    """Panels of horizontal bars, two in a row.

    A panel is (heading, [(label, peer, role, value, low, high)]).
    """
    label_width, bar_width, bar_height, gap = 150, 210, 18, 44
    panel_width = label_width + bar_width + 90
    body = [text(20, 30, title, "title"), text(20, 50, note, "dim")]
    top = 72
    for start in range(0, len(panels), 2):
        pair = panels[start:start + 2]
        for column, (heading, values) in enumerate(pair):
            left = 20 + column * panel_width
            body.append(text(left, top + 12, heading, "panel"))
            most = max([high for *_, high in values] + [1e-12])
            for index, (label, peer, role, value, low, high) in enumerate(values):
                y = top + 22 + index * bar_height
                at = left + label_width
                body.append(text(at - 6, y + 13, label, "", "end"))
                body.append(
                    f'<rect class="{peer} {role}" x="{at}" y="{y + 3}" width="{max(value / most * bar_width, 1):.1f}" '
                    f'height="{bar_height - 5}"/>'
                )
                if high > low:
                    middle = y + 3 + (bar_height - 5) / 2
                    body.append(
                        f'<path class="whisker" d="M{at + low / most * bar_width:.1f} {middle}H{at + high / most * bar_width:.1f}"/>'
                    )
                body.append(text(at + high / most * bar_width + 6, y + 13, short(value), "dim"))
        top += 22 + bar_height * max(len(values) for _, values in pair) + gap - 20
    return document(2 * panel_width + 20 if len(panels) > 1 else panel_width + 40, top, title, body)


class Axis:
    """From values to places, linear or logarithmic."""

    def __init__(self, low, high, start, end, log, ticks):
        self.log, self.start, self.end = log, start, end
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        if self.high <= self.low:
            self.high = self.low + 1
        self.ticks = ticks

    def place(self, value):
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)


def decades(low, high):
    """1, 2, 5, 10, ... around a range."""
    steps = [digit * 10.0 ** power for power in range(-6, 12) for digit in (1, 2, 5)]
    below = max([step for step in steps if step <= low] or [steps[0]])
    above = min([step for step in steps if step >= high] or [steps[-1]])
    return [step for step in steps if below <= step <= above]


def from_zero(high):
    """A handful of round values from 0 to above a value."""
    raw = max(high, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= raw)
    return [step * index for index in range(math.ceil(high / step) + 1)]


def lines(title, note, x_label, y_label, x_ticks, log_x, log_y, series):
    """Lines: series are (label, peer, role, [(x, y)]); x_ticks are (value, text)."""
    width, height, left, right, top, bottom = 900, 440, 70, 190, 86, 58
    points = [point for *_, some in series for point in some]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    y_ticks = decades(max(min(ys), 1e-3), max(ys)) if log_y else from_zero(max(ys))
    x_axis = Axis(min(xs), max(xs), left, width - right, log_x, x_ticks)
    y_axis = Axis(y_ticks[0], y_ticks[-1], height - bottom, top, log_y, y_ticks)
    body = [text(20, 30, title, "title"), text(20, 50, note, "dim")]
    for tick in y_ticks:
        y = y_axis.place(tick)
        body.append(f'<path class="grid" d="M{left} {y:.1f}H{width - right}"/>')
        body.append(text(left - 8, y + 4, short(tick), "dim", "end"))
    for value, name in x_ticks:
        x = x_axis.place(value)
        body.append(f'<path class="grid" d="M{x:.1f} {top}V{height - bottom}"/>')
        body.append(text(x, height - bottom + 18, name, "dim", "middle"))
    body.append(text((left + width - right) / 2, height - 16, x_label, "dim", "middle"))
    body.append(text(20, top - 8, y_label, "dim"))
    ends = []
    for label, peer, role, some in series:
        classes = f"line {peer}" + (" dashed" if role == "forward" else "") + (" own" if peer == "tollgate" else "")
        path = " ".join(f"{x_axis.place(x):.1f} {y_axis.place(max(y, 1e-3) if log_y else y):.1f}" for x, y in some)
        body.append(f'<polyline class="{classes}" points="{path}"/>')
        ends.append((y_axis.place(max(some[-1][1], 1e-3) if log_y else some[-1][1]), label, peer, role))
    # Names at the ends of their lines, moved apart where they would overlap.
    ends.sort()
    lowest = top
    places = []
    for y, *rest in ends:
        lowest = max(y, lowest)
        places.append([lowest, *rest])
        lowest += 15
    highest = height - bottom
    for place in reversed(places):
        place[0] = min(place[0], highest)
        highest = place[0] - 15
    for y, label, peer, role in places:
        body.append(f'<rect class="{peer} {role}" x="{width - right + 10}" y="{y - 5:.1f}" width="10" height="10"/>')
        body.append(text(width - right + 26, y + 4, label))
    return document(width, height, title, body)
