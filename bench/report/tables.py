"""The tables of summary.md."""

import statistics

TITLES = {
    "http": ("Kept-alive connections, {case}", "wrk, {connections} connections."),
    "close": ("A new connection for each request, {case}", "wrk with `Connection: close`, {connections} at a time."),
    "siege": ("siege, {case}", "As the seed measures: `siege -b -c{connections}`, which closes after each answer."),
    "sweep": ("{case} connections", "wrk, kept alive, 71 bytes; proxies started afresh for each round."),
    "latency": ("Latency at {case}", "oha, 20 connections, 71 bytes, corrected for omissions. `added` is what is above no proxy."),
    "connect": ("New tunnels, {case}", "CONNECT, 64 bytes there and back, close; {connections} clients."),
    "bulk": ("Bulk through {case} tunnel(s)", "An endless stream, read as fast as it comes."),
    "idle": ("{case} idle tunnels", "Each has carried 64 bytes both ways; growth of the proxy since it had none."),
    "http2": (
        "HTTP/2 over TLS, {case}",
        "oha, {connections} requests at a time; to servers 10 on each connection. Forward and tunnel: HTTP/2 to the proxy.",
    ),
    "tls": ("HTTPS through tunnels, {case}", "oha -x, {connections} tunnels that stay open, to an nginx with TLS."),
}

COSTS = {
    "auth": ("Cost of many users", "argon2id, all passwords verified before; users take turns."),
    "log": ("Cost of the access log", "To a file, beside no log."),
    "policy": (
        "Cost of a policy",
        "`lists`: 100,000 domains and 1,000 networks, none of which match. `rules`: the last of 200 admits.",
    ),
}


HOOKS = {
    "tollgate": "script, Rhai",
    "embedded": "hook, Rust",
    "haproxy": "Lua",
    "nginx": "LuaJIT",
}


def number(value, digits=None):
    """A figure with three or so significant digits; a dash for none."""
    if value is None:
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(series, metric):
    bounds = series.spread(metric)
    return "-" if bounds is None else f"{number(bounds[0])}-{number(bounds[1])}"


def ratio_to(run, peer, roles, metric):
    def cell(series):
        for role in roles:
            other = run.find(series.workload, series.case, peer, role)
            if other is not None:
                return number(run.ratio(series, other, metric), 2)
        return "-"

    return cell


def median(metric, digits=None):
    return lambda series: number(series.median(metric), digits)


def added(run, metric):
    def cell(series):
        direct = run.find(series.workload, series.case, "direct", "direct")
        if direct is None or series is direct or series.median(metric) is None:
            return "-"
        return number(series.median(metric) - direct.median(metric), 2)

    return cell


def columns(run, workload):
    """(title, cell) of the columns of a workload."""
    forward = ["forward", "tunnel"]
    rate = [
        ("requests/s", median("rate")),
        ("rounds", lambda s: spread(s, "rate")),
        ("x HAProxy", ratio_to(run, "haproxy", ["gateway"], "rate")),
        ("x Squid", ratio_to(run, "squid", forward, "rate")),
    ]
    latency = [(f"{name} ms", median(f"{key}_ms", 2)) for name, key in
               (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"))]
    cpu = [
        ("CPU µs/request", median("cpu_us", 1)),
        ("of it user", median("cpu_user_us", 1)),
        ("CPU x HAProxy", ratio_to(run, "haproxy", ["gateway"], "cpu_us")),
    ]
    memory = [("RSS MiB", median("rss_mib", 0))]
    reuse = [("origin connections per 1,000", median("origin_connections_per_1000", 1))]
    body = [("bytes/answer", median("bytes_per_answer", 0))]
    if workload == "http":
        moved = [("GB/s", median("gb_per_second", 2)), ("CPU s/GB", median("cpu_s_per_gb", 2))]
        return rate + latency + cpu + moved + memory + body + reuse
    if workload in ("close", "sweep"):
        return rate + latency + cpu + memory + body + reuse
    if workload == "siege":
        return rate + cpu + memory + body + reuse
    if workload == "latency":
        extra = [(f"added {name}", added(run, f"{key}_ms")) for name, key in
                 (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))]
        return rate[:1] + latency + extra + cpu + reuse
    if workload == "http2":
        return rate[:3] + latency + cpu + memory + body
    if workload == "tls":
        return rate[:2] + rate[3:] + latency + cpu[:2] + memory
    if workload == "connect":
        return [
            ("tunnels/s", median("rate")),
            ("rounds", lambda s: spread(s, "rate")),
            ("x Squid", ratio_to(run, "squid", ["tunnel"], "rate")),
            ("x tinyproxy", ratio_to(run, "tinyproxy", ["tunnel"], "rate")),
            *latency,
            ("CPU µs/tunnel", median("cpu_us", 1)),
            ("of it user", median("cpu_user_us", 1)),
            ("x bare tokio", ratio_to(run, "bare-tokio", ["tunnel"], "cpu_us")),
        ]
    if workload == "bulk":
        return [
            ("GB/s", median("gb_per_second", 2)),
            ("rounds", lambda s: spread(s, "gb_per_second")),
            ("x Squid", ratio_to(run, "squid", ["tunnel"], "gb_per_second")),
            ("CPU s/GB", median("cpu_s_per_gb", 3)),
            ("CPU x Squid", ratio_to(run, "squid", ["tunnel"], "cpu_s_per_gb")),
            ("RSS MiB", median("rss_mib", 0)),
        ]
    if workload == "idle":
        return [
            ("tunnels", median("count", 0)),
            ("KiB RSS/tunnel", median("rss_per_tunnel", 1)),
            ("rounds", lambda s: spread(s, "rss_per_tunnel")),
            ("descriptors/tunnel", median("descriptors_per_tunnel", 2)),
            ("seconds to open", median("seconds", 2)),
        ]
    raise ValueError(workload)


def render(header, lines):
    out = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    out += ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(out) + "\n"


def name_of(series):
    marks = series.marks()
    return series.label if not marks else f"{series.label} {'!' if series.is_bad else ''}({marks})"


def workload_table(run, workload, case):
    rows = run.table(workload, case)
    title, text = TITLES[workload]
    names = {"case": case, "connections": rows[0].rows[0].text["connections"]}
    shown = columns(run, workload)
    lines = [[name_of(s)] + [cell(s) for _, cell in shown] for s in rows]
    table = render([""] + [title for title, _ in shown], lines)
    return f"### {title.format(**names)}\n\n{text.format(**names)}\n\n{table}"


def cost_table(run, workload):
    """Each variant beside the first, which is the one without."""
    title, text = COSTS[workload]
    variants = [run.table(workload, case)[0] for case in run.cases(workload)]
    base = variants[0]
    lines = []
    for series in variants:
        ratio = run.ratio(series, base, "cpu_us")
        lines.append([
            series.case + (f" !({series.marks()})" if series.is_bad else ""),
            number(series.median("rate")),
            spread(series, "rate"),
            number(series.median("cpu_us"), 1),
            spread(series, "cpu_us"),
            "-" if series is base or ratio is None else f"{(ratio - 1) * 100:+.1f} %",
            number(series.median("p99_ms"), 2),
            number(series.median("rss_mib"), 0),
        ])
    header = ["", "requests/s", "rounds", "CPU µs/request", "rounds", f"CPU over {base.case}", "p99 ms", "RSS MiB"]
    return f"### {title}\n\nwrk, {base.rows[0].text['connections']} connections, {base.role}. {text}\n\n{render(header, lines)}"


def hook_table(run):
    """Each gateway with the reference hook, beside itself without."""
    lines = []
    for peer, language in HOOKS.items():
        plain, hook = (run.find("hooks", case, peer, "gateway") for case in ("plain", "hook"))
        added = run.hook_adds(peer)
        if not added:
            continue
        marks = "".join(sorted(set(plain.marks() + hook.marks())))
        bad = plain.is_bad or hook.is_bad
        lines.append([
            f"{hook.label}: {language}" + (f" !({marks})" if bad else ""),
            number(plain.median("rate")),
            number(hook.median("rate")),
            number(plain.median("cpu_us"), 2),
            number(hook.median("cpu_us"), 2),
            number(statistics.median(added), 2),
            f"{number(min(added), 2)} to {number(max(added), 2)}",
            number(plain.median("p99_ms"), 2),
            number(hook.median("p99_ms"), 2),
        ])
    header = ["", "requests/s plain", "with hook", "CPU µs/request plain", "with hook", "added CPU µs", "rounds", "p99 ms plain", "with hook"]
    connections = run.table("hooks", "plain")[0].rows[0].text["connections"]
    text = "The reference hook reads two fields and the path, and sets two fields. `added` is the median of the rounds' differences."
    return f"### Cost of a hook\n\nwrk, {connections} connections, gateway. {text}\n\n{render(header, lines)}"


def all_tables(run):
    parts = []
    for workload in TITLES:
        parts += [workload_table(run, workload, case) for case in run.cases(workload)]
    parts += [cost_table(run, workload) for workload in COSTS if run.cases(workload)]
    if run.cases("hooks"):
        parts.append(hook_table(run))
    return "\n".join(parts)
