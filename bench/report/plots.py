"""Which plots a run has."""

import math

import svg

NOTE = "Median of the rounds; the thin line is from the lowest to the highest. Client, proxy and origin share the machine."


def bar_values(rows, metric):
    values = []
    for series in rows:
        median, bounds = series.median(metric), series.spread(metric)
        if median is not None and bounds is not None:
            label = series.label + (" !" if series.is_bad else "")
            values.append((label, series.peer, series.role, max(median, 0), max(bounds[0], 0), max(bounds[1], 0)))
    return values


def panels(run, wanted):
    """From (workload, case or None for all, metric, heading) to what svg.bars takes."""
    found = []
    for workload, only, metric, heading in wanted:
        for case in run.cases(workload):
            if only in (None, case):
                values = bar_values(run.table(workload, case), metric)
                if values:
                    found.append((heading.format(case=case), values))
    return found


def lines_over_connections(run, metric):
    series = []
    cases = run.cases("sweep")
    keys = {(s.peer, s.role): s for case in cases for s in run.table("sweep", case)}
    for (peer, role), any_of_them in keys.items():
        points = []
        for case in cases:
            found = run.find("sweep", case, peer, role)
            if found is not None and found.median(metric) is not None:
                points.append((int(case), found.median(metric)))
        if points:
            series.append((any_of_them.label, peer, role, points))
    return series


def percentile_curves(run, case):
    """Percentiles as -log10 of what lies above: each nine is a step."""
    shares = [("p50_ms", 0.5), ("p75_ms", 0.75), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)]
    series = []
    for found in run.table("latency", case):
        points = [(-math.log10(1 - share), found.median(name)) for name, share in shares]
        if all(value is not None for _, value in points):
            series.append((found.label, found.peer, found.role, points))
    return series


def plots(run):
    """(file name, alternative text, SVG) of each plot that the run has data for."""
    found = []

    def add_bars(name, title, wanted):
        some = panels(run, wanted)
        if some:
            found.append((name, title, svg.bars(title, NOTE, some)))

    add_bars("requests", "Requests per second", [("http", None, "rate", "{case}, kept alive"),
                                                 ("close", None, "rate", "{case}, new connections"),
                                                 ("siege", None, "rate", "{case}, siege")])
    add_bars("cpu", "CPU µs of the proxy per request", [("http", None, "cpu_us", "{case}, kept alive"),
                                                       ("close", None, "cpu_us", "{case}, new connections")])
    add_bars("http2", "HTTP/2 over TLS", [("http2", None, "rate", "requests/s, {case}"),
                                          ("http2", None, "cpu_us", "CPU µs per request, {case}")])
    add_bars("tunnels", "Tunnels", [("connect", None, "rate", "new tunnels/s, {case}"),
                                    ("connect", None, "cpu_us", "CPU µs per new tunnel, {case}"),
                                    ("bulk", None, "gb_per_second", "GB/s, {case} tunnel(s)"),
                                    ("bulk", None, "cpu_s_per_gb", "CPU s/GB, {case} tunnel(s)"),
                                    ("idle", None, "rss_per_tunnel", "KiB RSS per idle tunnel, {case}"),
                                    ("tls", None, "rate", "HTTPS requests/s, {case}")])
    add_bars("latency-bars", f"Latency at {', '.join(run.cases('latency'))}, ms",
             [("latency", None, "p50_ms", "p50"), ("latency", None, "p99_ms", "p99"), ("latency", None, "p999_ms", "p99.9")])
    costs = [(workload, None, "cpu_us", heading + ": {case}") for workload, heading in
             (("auth", "users"), ("log", "access log"), ("policy", "policy"))]
    some = [(heading.split(":")[0], (heading.split(": ")[1], *values[0][1:])) for heading, values in panels(run, costs)]
    merged = {}
    for heading, value in some:
        merged.setdefault(heading, []).append(value)
    if merged:
        title = "CPU µs per request with features on and off"
        found.append(("costs", title, svg.bars(title, NOTE, list(merged.items()))))
    for case in run.cases("latency"):
        curves = percentile_curves(run, case)
        if curves:
            title = f"Latency at {case}"
            ticks = [(-math.log10(1 - share), name) for share, name in
                     ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"))]
            found.append(("latency", title, svg.lines(title, "Median of the rounds. Forward proxies are dashed.", "requests answered within",
                                                      "ms", ticks, False, True, curves)))
    ticks = [(int(case), f"{int(case):,}") for case in run.cases("sweep")]
    for name, metric, title, unit in (
        ("sweep-rate", "rate", "Requests per second over connections", "requests/s"),
        ("sweep-memory", "rss_mib", "Memory over connections", "RSS in MiB"),
    ):
        series = lines_over_connections(run, metric) if len(ticks) > 1 else []
        if series:
            found.append((name, title, svg.lines(title, "Median of the rounds, 71 bytes, kept alive. Forward proxies are dashed.",
                                                 "connections", unit, ticks, True, metric == "rss_mib", series)))
    return found
