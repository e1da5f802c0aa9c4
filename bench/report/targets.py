"""What Tollgate wants to reach, and whether this run did."""

import statistics

from tables import number

MET, MISSED, OPEN = "met", "**missed**", "not measured"


class Target:
    """One line: a figure that has to be at most or at least a bound."""

    def __init__(self, group, text, value, bound, at_most, series, digits=2):
        self.group, self.text, self.value, self.digits = group, text, value, digits
        self.bound, self.at_most = bound, at_most
        self.bad = sorted({s.label for s in series if s is not None and s.is_bad})

    def verdict(self):
        if self.value is None:
            return OPEN
        reached = self.value <= self.bound if self.at_most else self.value >= self.bound
        doubt = f" (marked: {', '.join(self.bad)})" if self.bad else ""
        return (MET if reached else MISSED) + doubt

    def line(self):
        sign = "≤" if self.at_most else "≥"
        bound = f"{self.bound:g}"
        measured = "-" if self.value is None else number(self.value, self.digits)
        return f"| {self.group} | {self.text} | {sign} {bound} | {measured} | {self.verdict()} |"


def ratio_target(run, group, text, ours, theirs, metric, bound, at_most):
    left, right = run.find(*ours), run.find(*theirs)
    return Target(group, text, run.ratio(left, right, metric), bound, at_most, [left, right])


def added_p99(run, case, peer):
    series = run.find("latency", case, peer, "gateway")
    direct = run.find("latency", case, "direct", "direct")
    if series is None or direct is None or series.median("p99_ms") is None:
        return None
    return series.median("p99_ms") - direct.median("p99_ms")


def latency_targets(run):
    targets = []
    for case in run.cases("latency"):
        ours = run.find("latency", case, "tollgate", "gateway")
        theirs = run.find("latency", case, "haproxy", "gateway")
        mine, other = added_p99(run, case, "tollgate"), added_p99(run, case, "haproxy")
        ratio = None
        if mine is not None and other is not None:
            # Less than none is none.
            ratio = max(mine, 0) / other if other > 0 else (1.0 if mine <= other else float("inf"))
        targets += [
            Target(f"latency at {case}", "added p99, x HAProxy's", ratio, 1.2, True, [ours, theirs]),
            Target(f"latency at {case}", "whole p99, x HAProxy's", run.ratio(ours, theirs, "p99_ms"), 1.2, True, [ours, theirs]),
        ]
    return targets


def sweep_targets(run):
    last = run.find("sweep", 9000, "tollgate", "gateway")
    first = run.find("sweep", 100, "tollgate", "gateway")
    group = "9,000 connections"
    share = None
    if last is not None and first is not None:
        share = last.median("rate") / first.median("rate") if last.median("rate") else 0.0
    errors = megabytes = None
    if last is not None:
        megabytes = (last.median("rss_kib") or 0) * 1024 / 1e6
        errors = sum((row.number("errors") or 0) + (row.number("non_2xx") or 0) for row in last.rows)
    return [
        Target(group, "requests/s, x those at 100", share, 0.8, False, [first]),
        Target(group, "errors and answers other than 2xx", errors, 0, True, [], 0),
        Target(group, "RSS in MB", megabytes, 150, True, [], 0),
    ]


def logged_targets(run):
    """The same two, where each proxy writes its access log."""
    forward, tunnel = ("http", "71B logged", "forward"), ("connect", "64B logged", "tunnel")
    return [
        ratio_target(run, f"{group}, all log", f"{unit}, x {peer}'s", (workload, case, "tollgate", role),
                     (workload, case, peer, role), "rate", bound, False)
        for group, unit, (workload, case, role), peers in (
            ("forward 71B", "requests/s", forward, (("squid", 2), ("apache", 5), ("tinyproxy", 5))),
            ("new tunnels", "tunnels/s", tunnel, (("tinyproxy", 1.5),)),
        )
        for peer, bound in peers
    ]


def hook_target(run):
    """What a script adds, beside what HAProxy's Lua adds for the same hook."""
    ours, theirs = run.hook_adds("tollgate"), run.hook_adds("haproxy")
    bound = statistics.median(theirs) if theirs else None
    # Where the peer's hook costs nothing that can be measured, there is no ratio.
    ratio = statistics.median(ours) / bound if ours and bound and bound > 0 else None
    series = [run.find("hooks", case, peer, "gateway") for case in ("plain", "hook") for peer in ("tollgate", "haproxy")]
    return Target("reference hook", "added CPU/request of the script, x HAProxy's Lua", ratio, 1, True, series)


def targets(run):
    """All of them, in order."""
    small = ("http", "71B")
    ours, haproxy = (*small, "tollgate", "gateway"), (*small, "haproxy", "gateway")
    forward = (*small, "tollgate", "forward")
    found = [
        ratio_target(run, "gateway 71B", "CPU/request, x HAProxy's", ours, haproxy, "cpu_us", 1.10, True),
        ratio_target(run, "gateway 71B", "requests/s, x HAProxy's", ours, haproxy, "rate", 0.95, False),
    ]
    for peer, bound in (("squid", 2), ("apache", 5), ("tinyproxy", 5)):
        found.append(
            ratio_target(run, "forward 71B", f"requests/s, x {peer}'s", forward, (*small, peer, "forward"), "rate", bound, False)
        )
    for case in ("128K", "1M"):
        found.append(
            ratio_target(run, f"{case} bodies", "CPU/byte, x HAProxy's", ("http", case, "tollgate", "gateway"),
                         ("http", case, "haproxy", "gateway"), "cpu_s_per_gb", 1.0, True)
        )
    found += sweep_targets(run)
    tunnel = ("connect", "64B", "tollgate", "tunnel")
    found += [
        ratio_target(run, "new tunnels", "tunnels/s, x tinyproxy's", tunnel, ("connect", "64B", "tinyproxy", "tunnel"), "rate", 1.5, False),
        # 75 µs where a bare copy on tokio takes 70.
        ratio_target(run, "new tunnels", "CPU/tunnel, x bare tokio's", tunnel, ("connect", "64B", "bare-tokio", "tunnel"), "cpu_us", 1.07, True),
    ]
    found += logged_targets(run)
    bulk, squid = ("bulk", "8", "tollgate", "tunnel"), ("bulk", "8", "squid", "tunnel")
    found += [
        ratio_target(run, "bulk, 8 tunnels", "CPU s/GB, x Squid's", bulk, squid, "cpu_s_per_gb", 0.30, True),
        ratio_target(run, "bulk, 8 tunnels", "GB/s, x Squid's", bulk, squid, "gb_per_second", 2.4, False),
    ]
    for case in run.cases("idle") or ["-"]:
        idle = run.find("idle", case, "tollgate", "tunnel")
        files = idle.median("descriptors_per_tunnel") if idle else None
        found += [
            Target("idle tunnel", "KiB RSS", idle.median("rss_per_tunnel") if idle else None, 6.5, True, [idle], 1),
            # A descriptor more for the whole process is none for a tunnel.
            Target("idle tunnel", "descriptors", None if files is None else round(files, 2), 2, True, [idle], 2),
        ]
    one = run.find("auth", "1-user", "tollgate", "gateway")
    many = run.find("auth", "10000-users", "tollgate", "gateway")
    found.append(Target("argon2id, 10,000 users", "CPU/request, x one user's", run.ratio(many, one, "cpu_us"), 1.02, True, [one, many], 3))
    return [*found, hook_target(run), *latency_targets(run)]


def table(run):
    lines = ["| | figure | target | measured | |", "|---|---|--:|--:|---|"]
    return "\n".join(lines + [target.line() for target in targets(run)]) + "\n"
