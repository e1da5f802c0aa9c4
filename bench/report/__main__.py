"""Turns a run's raw.csv into summary.md and plots.

    python3 bench/report bench/runs/NAME
"""

import pathlib
import sys

# The sources lie in the repository; nothing else shall.
sys.dont_write_bytecode = True

import data
import plots
import tables
import targets

HEAD = """# {name}

Client, proxies and origin shared this machine, over loopback: compare the rows of one table, not the figures with
those of another run. Medians of interleaved rounds; `rounds` is the lowest and the highest. Ratios are medians of the
ratios of each round. CPU is the proxy's own, user and system, all its processes and threads. What the columns
mean and what to distrust: [bench/README.md](../../README.md).

A row is marked `!` when its work was not that of the others: `e` errors or time-outs, `n` answers other than 2xx,
`b` more or fewer bytes per answer than there should be, `o` the origin counted other requests than the client.
`c` alone: the proxy closed connections after its answers, by design.

"""


def summary(run, directory):
    parts = [HEAD.format(name=directory.name), "## Targets\n\n" + targets.table(run)]
    remarks = (directory / "remarks.txt")
    if remarks.exists() and remarks.read_text(encoding="utf-8").strip():
        parts.append("\n## Remarks\n\n" + "".join(f"- {line}\n" for line in remarks.read_text(encoding="utf-8").splitlines()))
    drawn = plots.plots(run)
    if drawn:
        parts.append("\n## Plots\n\n")
        for name, title, content in drawn:
            (directory / f"{name}.svg").write_text(content, encoding="utf-8")
            parts.append(f"![{title}]({name}.svg)\n\n")
    parts.append("\n## Figures\n\n" + tables.all_tables(run))
    versions = directory / "versions.txt"
    if versions.exists():
        parts.append("\n## Machine and versions\n\n```text\n" + versions.read_text(encoding="utf-8") + "```\n")
    return "".join(parts)


def main(arguments):
    if len(arguments) != 1:
        sys.exit("usage: python3 bench/report bench/runs/NAME")
    directory = pathlib.Path(arguments[0])
    run = data.Run(directory / "raw.csv")
    (directory / "summary.md").write_text(summary(run, directory), encoding="utf-8")
    print(targets.table(run))


if __name__ == "__main__":
    main(sys.argv[1:])
