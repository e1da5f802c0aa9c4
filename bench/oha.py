"""Reads oha's JSON and prints the line of results that the other loads print.

    python3 oha.py FILE
"""

import json
import sys


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    summary = report["summary"]
    percentiles = report["latencyPercentiles"]
    statuses = {int(status): count for status, count in report["statusCodeDistribution"].items()}
    count = sum(statuses.values())
    # What was under way at the end is neither an answer nor an error.
    errors = sum(
        count for text, count in report["errorDistribution"].items() if "deadline" not in text
    )

    def ms(seconds):
        return "" if seconds is None else f"{seconds * 1000:.3f}"

    fields = {
        "count": count,
        "seconds": f"{summary['total']:.3f}",
        "bytes": summary["totalData"],
        "errors": errors,
        "non_2xx": sum(count for status, count in statuses.items() if not 200 <= status < 300),
        "p50_ms": ms(percentiles["p50"]),
        "p75_ms": ms(percentiles["p75"]),
        "p90_ms": ms(percentiles["p90"]),
        "p99_ms": ms(percentiles["p99"]),
        "p999_ms": ms(percentiles["p99.9"]),
        "max_ms": ms(summary["slowest"]),
    }
    print(" ".join(f"{key}={value}" for key, value in fields.items()))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"oha.py: {error!r}")
