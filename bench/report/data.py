"""A run's raw.csv: rows, what follows from them, and what is wrong with them."""

import csv
import statistics

PEERS = {
    "direct": "no proxy",
    "tollgate": "Tollgate",
    "embedded": "Tollgate, embedded",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "apache": "Apache",
    "squid": "Squid",
    "tinyproxy": "tinyproxy",
    "bare-pingora": "bare Pingora",
    "bare-tokio": "bare tokio",
}

# Workloads whose answers come from the counting origin.
COUNTED = {"http", "close", "siege", "sweep", "latency", "tls", "http2", "auth", "log", "policy", "hooks"}


class Row:
    """One measurement of one round."""

    def __init__(self, fields):
        self.text = fields
        self.key = (fields["workload"], fields["case"], fields["peer"], fields["role"])
        self.round = int(fields["round"])

    def number(self, name):
        """The value of a column; None where it is empty."""
        text = self.text.get(name)
        return float(text) if text not in (None, "") else None

    def metric(self, name):
        """A column, or one of the figures that are derived; None if there is none."""
        derived = getattr(self, f"_{name}", None)
        return derived() if derived else self.number(name)

    def _rate(self):
        count, seconds = self.number("count"), self.number("seconds")
        return count / seconds if count and seconds else None

    def _cpu(self):
        if self.number("cpu_user_s") is None:
            return None
        return self.number("cpu_user_s") + self.number("cpu_system_s")

    def _cpu_us(self):
        """CPU µs of the proxy for each request or tunnel."""
        count = self.number("count")
        return self._cpu() / count * 1e6 if self._cpu() is not None and count else None

    def _cpu_user_us(self):
        count = self.number("count")
        return self.number("cpu_user_s") / count * 1e6 if self._cpu() is not None and count else None

    def _bytes_moved(self):
        return self.number("count" if self.key[0] == "bulk" else "bytes")

    def _gb_per_second(self):
        moved, seconds = self._bytes_moved(), self.number("seconds")
        return moved / seconds / 1e9 if moved and seconds else None

    def _cpu_s_per_gb(self):
        moved = self._bytes_moved()
        return self._cpu() / (moved / 1e9) if self._cpu() is not None and moved else None

    def _bytes_per_answer(self):
        count, moved = self.number("count"), self.number("bytes")
        return moved / count if count and moved is not None else None

    def _rss_mib(self):
        kib = self.number("rss_kib")
        return kib / 1024 if kib is not None else None

    def _rss_per_tunnel(self):
        count, kib = self.number("count"), self.number("rss_kib")
        return kib / count if count and kib is not None else None

    def _descriptors_per_tunnel(self):
        count, files = self.number("count"), self.number("descriptors")
        return files / count if count and files is not None else None

    def _origin_connections_per_1000(self):
        count, connections = self.number("count"), self.number("origin_connections")
        return connections / count * 1000 if count and connections is not None else None

    def marks(self):
        """Letters for what makes this row's work unequal to that of others."""
        found = set()
        count = self.number("count") or 0
        errors = self.number("errors") or 0
        non_2xx = self.number("non_2xx") or 0
        connections = self.number("connections") or 0
        if not count or errors:
            found.add("e")
        if non_2xx:
            found.add("n")
        if self.number("closes"):
            found.add("c")
        expected, moved = self.number("expected_bytes"), self.number("bytes")
        if expected and moved is not None:
            # Answers may be under way when the load stops.
            if not 0.97 * count * expected <= moved <= 1.03 * count * expected + connections * expected:
                found.add("b")
        if self.key[0] in COUNTED and self.number("origin_requests") is not None:
            seen = self.number("origin_requests")
            if not count - non_2xx <= seen <= count + errors + 2 * connections:
                found.add("o")
        if self.key[0] == "idle" and count < connections:
            found.add("e")
        return found


class Series:
    """All rounds of one row."""

    def __init__(self, key):
        self.workload, self.case, self.peer, self.role = key
        self.rows = []

    @property
    def label(self):
        name = PEERS.get(self.peer, self.peer)
        # Where there are no other roles, a tunnel needs no word for it.
        plain = self.role == "direct" or (self.role == "tunnel" and self.workload != "http2")
        return name if plain else f"{name} {self.role}"

    def values(self, metric):
        """By round."""
        values = {row.round: row.metric(metric) for row in self.rows}
        return {number: value for number, value in values.items() if value is not None}

    def median(self, metric):
        values = self.values(metric)
        return statistics.median(values.values()) if values else None

    def spread(self, metric):
        values = self.values(metric)
        return (min(values.values()), max(values.values())) if values else None

    def marks(self):
        return "".join(sorted(set().union(*(row.marks() for row in self.rows))))

    @property
    def is_bad(self):
        """Whether its work is not that of the others; a connection that the
        proxy closes by design is marked but did the work."""
        return bool(set(self.marks()) - {"c"})


class Run:
    """A whole raw.csv."""

    def __init__(self, path):
        self.series = {}
        with open(path, encoding="utf-8", newline="") as file:
            for fields in csv.DictReader(file):
                row = Row(fields)
                series = self.series.setdefault(row.key, Series(row.key))
                # Round 0 warms up, but shows the order.
                if row.round:
                    series.rows.append(row)
        self.series = {key: series for key, series in self.series.items() if series.rows}

    def cases(self, workload):
        """The cases of a workload, in the order of the run."""
        return list(dict.fromkeys(key[1] for key in self.series if key[0] == workload))

    def table(self, workload, case):
        """The series of one table: proxies in a fixed order."""
        order = list(PEERS)
        rows = [s for key, s in self.series.items() if key[:2] == (workload, case)]
        return sorted(rows, key=lambda s: order.index(s.peer) if s.peer in order else len(order))

    def find(self, workload, case, peer, role):
        return self.series.get((workload, str(case), peer, role))

    def ratio(self, left, right, metric):
        """The median over the rounds of left / right; None if one is missing."""
        if left is None or right is None:
            return None
        ours, theirs = left.values(metric), right.values(metric)
        ratios = [ours[n] / theirs[n] for n in ours if theirs.get(n)]
        return statistics.median(ratios) if ratios else None

    def differences(self, left, right, metric):
        """left - right in each round; none if one is missing."""
        if left is None or right is None:
            return []
        ours, theirs = left.values(metric), right.values(metric)
        return [ours[n] - theirs[n] for n in ours if n in theirs]

    def hook_adds(self, peer):
        """What the reference hook adds to a request of the peer in each round, in CPU µs."""
        with_hook = self.find("hooks", "hook", peer, "gateway")
        return self.differences(with_hook, self.find("hooks", "plain", peer, "gateway"), "cpu_us")
