#!/usr/bin/env bash
# Turns a run's raw.csv into tables: medians, with the spread of the rounds.
#   bench/report.sh bench/runs/NAME
set -euo pipefail
export LC_ALL=C
RUN=${1:?usage: bench/report.sh bench/runs/NAME}

cat <<HEAD
# $(basename "$RUN")

Client, proxies and origin shared this machine, over loopback: compare the rows
of one table, not the figures with those of another run. Medians of the rounds,
lowest and highest in brackets. \`!\` marks a row with errors, with answers that
are not 2xx, or where the origin's log does not match what the client counted.
CPU is the proxy's own, user and system, its helpers included.

HEAD

awk -F, '
    function median(key, n,    i, j, t, v) {
        for (i = 1; i <= n; i++) v[i] = sample[key, i]
        for (i = 2; i <= n; i++) {
            t = v[i]
            for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]
            v[j + 1] = t
        }
        low = v[1]; high = v[n]
        return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    # The median of a column, or a dash where the column is empty.
    function cell(table, proxy, column, format,    key) {
        key = table SUBSEP proxy SUBSEP column
        return count[key] ? sprintf(format, median(key, count[key])) : "-"
    }
    function put(table, proxy, column, value,    key) {
        if (value == "") return
        key = table SUBSEP proxy SUBSEP column
        sample[key, ++count[key]] = value + 0
    }
    NR == 1 { next }
    {
        table = $2 "," $4
        proxy = $3
        if ($2 == "connect") sub(/ .*/, "", proxy)
        if (!(table in tables)) { tables[table] = 1; order[++total] = table }
        if (!((table, proxy) in known)) {
            known[table, proxy] = 1
            rows[table] = rows[table] (rows[table] == "" ? "" : "\n") proxy
        }
        connections[table] = $5
        put(table, proxy, "rate", $7); put(table, proxy, "p50", $8); put(table, proxy, "p99", $9)
        put(table, proxy, "mib", $10); put(table, proxy, "cpu", $15); put(table, proxy, "rss", $16)
        requests[table, proxy] += $6; errors[table, proxy] += $11; other[table, proxy] += $12
        if ($14 == "no") unseen[table, proxy] = 1
        if ($13 != "") seen[table, proxy] += $13
    }
    END {
        for (t = 1; t <= total; t++) {
            table = order[t]
            split(table, part, ",")
            unit = part[1] == "connect" ? "tunnels" : "requests"
            printf "## %s, %s, %d %s\n\n", part[1], part[2], connections[table], \
                part[1] == "connect" ? "clients" : "connections"
            printf "| | %s/s | rounds | x nginx | x squid | p50 ms | p99 ms | MiB/s | CPU us/%s | RSS MiB | %s | origin saw | errors | not 2xx |\n", \
                unit, substr(unit, 1, length(unit) - 1), unit
            print "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
            n = split(rows[table], list, "\n")
            for (i = 1; i <= n; i++) {
                proxy = list[i]
                rate = cell(table, proxy, "rate", "%.0f")
                range = sprintf("(%.0f-%.0f)", low, high)
                split("nginx gateway,squid forward", base, ",")
                if (part[1] == "connect") base[2] = "squid"
                for (b = 1; b <= 2; b++) {
                    against = cell(table, base[b], "rate", "%.0f")
                    ratio[b] = against > 0 ? sprintf("%.2f", rate / against) : "-"
                }
                bad = errors[table, proxy] + other[table, proxy] + unseen[table, proxy] + !requests[table, proxy]
                printf "| %s%s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %s | %d | %d |\n", \
                    proxy, bad ? " !" : "", rate, range, ratio[1], ratio[2], \
                    cell(table, proxy, "p50", part[1] == "siege" ? "%.0f" : "%.2f"), \
                    cell(table, proxy, "p99", "%.2f"), cell(table, proxy, "mib", "%.1f"), \
                    cell(table, proxy, "cpu", "%.1f"), cell(table, proxy, "rss", "%.0f"), \
                    requests[table, proxy], (table, proxy) in seen ? seen[table, proxy] : "-", \
                    errors[table, proxy], other[table, proxy]
            }
            print ""
        }
    }
' "$RUN/raw.csv"

cat <<'FOOT'
siege closes each connection after one answer; its p50 column is its mean
response time. The origin's count may pass the client's by the requests that were
in flight when the load stopped. For tunnels, errors are connections that failed
or returned other bytes, and "not 2xx" are refused CONNECTs.

FOOT
echo '## Machine and versions'
echo
echo '```'
cat "$RUN/versions.txt"
echo '```'
