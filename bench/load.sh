# shellcheck shell=bash
# The loads: each puts one row into raw.csv. Sourced by run.sh.
# shellcheck disable=SC2034,SC2153,SC2154  # shared with the files that source this one

HEADER=round,load,proxy,payload,connections,requests,per_second,p50_ms,p99_ms,mib_per_second,errors,non_2xx,origin_lines,origin_ok,cpu_us,rss_mib

# Measures what runs between the two: the proxy's CPU time, the origin's lines.
begin() {
    TICKS_BEFORE=$([ -n "${PIDS[$1]:-}" ] && cpu_ticks "${PIDS[$1]}" || echo 0)
    LINES_BEFORE=$(origin_lines)
}

# finish NAME REQUESTS: sets CPU_US, RSS_MIB and SEEN.
finish() {
    local name=$1 requests=$2 ticks
    CPU_US='' RSS_MIB=''
    if [ -n "${PIDS[$name]:-}" ]; then
        ticks=$(($(cpu_ticks "${PIDS[$name]}") - TICKS_BEFORE))
        CPU_US=$(awk -v t="$ticks" -v hz="$TICKS" -v n="$requests" 'BEGIN { if (n) printf "%.1f", t / hz * 1e6 / n }')
        RSS_MIB=$(awk -v kb="$(rss_kb "${PIDS[$name]}")" 'BEGIN { printf "%.0f", kb / 1024 }')
    fi
    SEEN=$(($(origin_lines) - LINES_BEFORE))
}

# origin_ok REQUESTS FAILED: the origin saw every request that was answered, and
# no more than those plus the ones in flight when the load stopped.
origin_ok() {
    if [ "$SEEN" -ge $(($1 - $2)) ] && [ "$SEEN" -le $(($1 + $2 + 2 * CONNECTIONS)) ]; then
        echo yes
    else
        echo no
    fi
}

# label NAME ROLE: what the row is called.
label() { [ "$1" = "$2" ] && echo "$1" || echo "$1 $2"; }

# A load that fails is reported and counted; the run goes on.
failed_load() {
    note "$1 ended with an error:"
    tail -n 5 "$2" >&2
}

row() {
    local IFS=,
    echo "$*" >>"$RUN/raw.csv"
}

# wrk_numbers FILE: requests, req/s, p50, p99 in ms, MiB/s, socket errors, non-2xx.
wrk_numbers() {
    awk '
        function ms(text) {
            if (text ~ /us$/) return (text + 0) / 1000
            if (text ~ /ms$/) return text + 0
            if (text ~ /m$/) return (text + 0) * 60000
            return (text + 0) * 1000
        }
        function mib(text) {
            if (text ~ /GB$/) return (text + 0) * 1024
            if (text ~ /MB$/) return text + 0
            if (text ~ /KB$/) return (text + 0) / 1024
            return (text + 0) / 1048576
        }
        $1 == "50%" { p50 = ms($2) }
        $1 == "99%" { p99 = ms($2) }
        / requests in / { requests = $1 }
        /Socket errors:/ { gsub(",", ""); errors = $4 + $6 + $8 + $10 }
        /Non-2xx/ { other = $NF }
        /^Requests\/sec:/ { rate = $2 }
        /^Transfer\/sec:/ { bytes = mib($2) }
        END { printf "%d %.0f %.2f %.2f %.1f %d %d\n", requests, rate, p50, p99, bytes, errors, other }
    ' "$1"
}

wrk_load() {
    local round=$1 name=$2 role=$3 file=$4 out requests rate p50 p99 bytes errors other
    way "$name" "$role" "$file"
    out="$WORK/output/wrk-$name-$role-$file-$round.txt"
    begin "$name"
    # wrk takes what follows -- as the script's arguments.
    wrk -t1 "-c$CONNECTIONS" --latency "-d$DURATION" -H "$FIELD" \
        ${WRK[@]+"${WRK[@]}"} "$VIA" -- "$URL" >"$out" 2>&1 </dev/null || failed_load wrk "$out"
    read -r requests rate p50 p99 bytes errors other < <(wrk_numbers "$out")
    finish "$name" "$requests"
    row "$round" wrk "$(label "$name" "$role")" "$file" "$CONNECTIONS" "$requests" "$rate" "$p50" "$p99" "$bytes" \
        "$errors" "$other" "$SEEN" "$(origin_ok "$requests" "$other")" "$CPU_US" "$RSS_MIB"
}

# siege_number FILE KEY
siege_number() {
    awk -F: -v key="\"$2\"" '$1 ~ key { gsub(/[ ,\t]/, "", $2); print $2; found = 1; exit } END { if (!found) print 0 }' "$1"
}

siege_load() {
    local round=$1 name=$2 role=$3 file=$4 out rc requests failed
    way "$name" "$role" "$file"
    out="$WORK/output/siege-$name-$role-$file-$round.txt"
    rc="$WORK/siege.conf"
    {
        printf 'verbose = false\ncolor = off\nquiet = true\njson_output = true\nlogging = false\n'
        printf 'protocol = HTTP/1.1\nconnection = close\nlimit = 10000\nparser = false\ncsv = false\n'
        if [ -n "$SIEGE_PROXY" ]; then
            printf 'proxy-host = 127.0.0.1\nproxy-port = %s\n' "$SIEGE_PROXY"
        fi
    } >"$rc"
    begin "$name"
    siege -R "$rc" -b "-c$CONNECTIONS" "-t$DURATION" -H "$FIELD" "$URL" >"$out" 2>&1 </dev/null ||
        failed_load siege "$out"
    requests=$(siege_number "$out" transactions)
    failed=$(siege_number "$out" failed_transactions)
    finish "$name" "$requests"
    row "$round" siege "$(label "$name" "$role")" "$file" "$CONNECTIONS" "$requests" "$(siege_number "$out" transaction_rate)" \
        "$(siege_number "$out" response_time | awk '{ printf "%.0f", $1 * 1000 }')" "" \
        "$(siege_number "$out" throughput)" "$failed" 0 "$SEEN" "$(origin_ok "$requests" "$failed")" "$CPU_US" "$RSS_MIB"
}

# connect_load: tunnels of 64 bytes there and back, one after the other on TUNNELS clients.
connect_load() {
    local round=$1 name=$2 role=$3 out tunnels
    local through=()
    out="$WORK/output/connect-$name-$round.txt"
    [ "$role" = direct ] || through=(--proxy "127.0.0.1:${PORTS[$name]}" --user username:password)
    begin "$name"
    "$WORK/connect_load" ${through[@]+"${through[@]}"} --target "127.0.0.1:$ECHO" \
        --clients "$TUNNELS" --seconds "${DURATION%s}" >"$out" 2>&1 </dev/null || failed_load connect_load "$out"
    value() { awk -v RS=' ' -F= -v key="$1" '$1 == key { print $2 + 0; exit }' "$out"; }
    tunnels=$(value tunnels)
    finish "$name" "${tunnels:-0}"
    row "$round" connect "$(label "$name" "$role")" 64B "$TUNNELS" "$tunnels" "$(value per_second)" "$(value p50_ms)" "$(value p99_ms)" "" \
        "$(value errors)" "$(value refused)" "" "" "$CPU_US" "$RSS_MIB"
}
