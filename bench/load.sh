# shellcheck shell=bash
# The load generators: each call measures one row of one round and puts it into
# raw.csv. Sourced by run.sh and smoke.sh.
# shellcheck disable=SC2034,SC2153,SC2154  # shared with the files that source this one

COLUMNS=(round workload case peer role connections seconds count p50_ms p75_ms p90_ms p99_ms p999_ms max_ms
    bytes expected_bytes errors non_2xx closes origin_requests origin_connections cpu_user_s cpu_system_s rss_kib descriptors)
declare -A ROW

header() {
    local IFS=,
    echo "${COLUMNS[*]}"
}

# begin WORKLOAD CASE NAME ROLE CONNECTIONS SECONDS: counters before a load, and
# a look at the proxy's memory late in it.
begin() {
    local name=$3 seconds=$6
    SUBJECT=${PIDS[$name]:-}
    ROW=([workload]=$1 [case]=$2 [peer]=${name%%:*} [role]=$4 [connections]=$5)
    LOOK_PID=
    if [ -n "$SUBJECT" ]; then
        read -r USER_BEFORE SYSTEM_BEFORE < <(cpu_ticks "$SUBJECT")
        (
            sleep "$(awk -v s="$seconds" 'BEGIN { print s * 0.7 }')"
            echo "$(rss_kib "$SUBJECT") $(descriptors "$SUBJECT")"
        ) >"$WORK/look" &
        LOOK_PID=$!
    fi
    ORIGIN_BEFORE=$(origin_counts)
}

# finish ROUND: counters after it, and the row.
finish() {
    local user system connections requests had_connections had_requests column line=
    read -r connections requests < <(origin_counts)
    read -r had_connections had_requests <<<"$ORIGIN_BEFORE"
    # The second look at the counters is a request itself.
    ROW[origin_requests]=$((requests - had_requests - 1))
    ROW[origin_connections]=$((connections - had_connections - 1))
    if [ -n "$SUBJECT" ]; then
        read -r user system < <(cpu_ticks "$SUBJECT")
        ROW[cpu_user_s]=$(awk -v t=$((user - USER_BEFORE)) -v hz="$TICKS" 'BEGIN { printf "%.2f", t / hz }')
        ROW[cpu_system_s]=$(awk -v t=$((system - SYSTEM_BEFORE)) -v hz="$TICKS" 'BEGIN { printf "%.2f", t / hz }')
        wait "$LOOK_PID"
        [ -n "${ROW[rss_kib]:-}" ] || read -r "ROW[rss_kib]" "ROW[descriptors]" <"$WORK/look"
    fi
    ROW[round]=$1
    for column in "${COLUMNS[@]}"; do
        line=$line,${ROW[$column]:-}
    done
    echo "${line#,}" >>"$RUN/raw.csv"
}

# take FILE KEY...: values of a line of results into the row.
take() {
    local file=$1 key
    shift
    for key in "$@"; do
        ROW[$key]=$(value "$file" "$key")
    done
}

# number FILE KEY: as value, 0 where there is none.
number() { value "$1" "$2" | grep . || echo 0; }

# A load that fails is reported and counted; the run goes on.
failed_load() {
    note "$1 ended with an error:"
    tail -n 5 "$2" >&2
}

# A probe that fails says so; the row then shows what the load saw.
probe_row() {
    probe "$@" || note "$1 $2: $3 does not come as it should"
}

# wrk_load ROUND WORKLOAD CASE NAME ROLE FILE CONNECTIONS SECONDS [ARGUMENT...]
wrk_load() {
    local round=$1 workload=$2 case=$3 name=$4 role=$5 file=$6 connections=$7 seconds=$8
    local out="$WORK/output/wrk.txt" script=wrk.lua argument failed options=() arguments=()
    local probe_with=()
    for argument in "${@:9}"; do
        case "$argument" in
            users=*) script=users.lua arguments+=("$argument") ;;
            url=*) arguments+=("$argument") ;;
            header=*) options+=(-H "${argument#header=}") probe_with+=(-H "${argument#header=}") ;;
            close) options+=(-H "Connection: close") probe_with=(-H "Connection: close") ;;
        esac
    done
    # Users other than the usual one are checked by their statuses alone.
    [ "$script" = users.lua ] && way "$name" "$role" "$file"
    [ "$script" = users.lua ] || probe_row "$name" "$role" "$file" ${probe_with[@]+"${probe_with[@]}"}
    [ "$script" = users.lua ] || options+=(-H "$FIELD")
    begin "$workload" "$case" "$name" "$role" "$connections" "$seconds"
    # wrk takes what follows -- as the script's arguments; the last of a kind counts.
    wrk -t1 "-c$connections" "-d${seconds}s" ${options[@]+"${options[@]}"} -s "$BENCH/$script" "$VIA" -- \
        ${WRK[@]+"${WRK[@]}"} ${arguments[@]+"${arguments[@]}"} >"$out" 2>&1 </dev/null || failed_load wrk "$out"
    take "$out" seconds count bytes p50_ms p75_ms p90_ms p99_ms p999_ms max_ms non_2xx
    # A load that said nothing is an error.
    failed=$(value "$out" connect)
    ROW[errors]=$((${failed:-1} + $(number "$out" write) + $(number "$out" timeout)))
    ROW[closes]=$(value "$out" read)
    if [ "$script" = wrk.lua ]; then
        ROW[expected_bytes]=$((HEAD_BYTES + $(stat -c %s "$WORK/www/$file")))
    fi
    finish "$round"
}

# siege_value FILE KEY, of the report in JSON or in the older form.
siege_value() {
    awk -F: -v key="$2" '{
        gsub(/[{}",\t]/, ""); name = tolower($1); gsub(/^ +| +$/, "", name); gsub(/ /, "_", name)
        if (name == key) { print $2 + 0; exit }
    }' "$1"
}

# siege_load ROUND WORKLOAD CASE NAME ROLE FILE CONNECTIONS SECONDS: as the seed
# does it: a new connection for each request.
siege_load() {
    local round=$1 workload=$2 case=$3 name=$4 role=$5 file=$6 connections=$7 seconds=$8
    local out="$WORK/output/siege.txt" rc="$WORK/siegerc"
    probe_row "$name" "$role" "$file"
    printf '%s\n' 'protocol = HTTP/1.1' 'connection = close' 'limit = 20000' 'parser = false' 'csv = false' \
        'logging = false' 'show-logfile = false' 'json_output = true' ${SIEGE[@]+"${SIEGE[@]}"} >"$rc"
    begin "$workload" "$case" "$name" "$role" "$connections" "$seconds"
    # At its end siege waits for its own threads, and at times for ever.
    HOME=$WORK timeout -k 2 "$((seconds + 20))" siege -R "$rc" -b "-c$connections" "-t${seconds}S" -H "$FIELD" "$URL" >"$out" 2>&1 </dev/null ||
        failed_load siege "$out"
    ROW[count]=$(siege_value "$out" transactions)
    ROW[seconds]=$(siege_value "$out" elapsed_time)
    # siege counts bodies alone, in MiB, rounded to 10 KiB.
    ROW[bytes]=$(awk -v m="$(siege_value "$out" data_transferred)" 'BEGIN { printf "%.0f", m * 1048576 }')
    ROW[expected_bytes]=$(stat -c %s "$WORK/www/$file")
    ROW[max_ms]=$(awk -v s="$(siege_value "$out" longest_transaction)" 'BEGIN { print s * 1000 }')
    ROW[errors]=$(siege_value "$out" failed_transactions)
    ROW[non_2xx]=0 ROW[closes]=0
    finish "$round"
}

# oha_load ROUND WORKLOAD CASE NAME ROLE FILE CONNECTIONS SECONDS [-p STREAMS] [ARGUMENT...]
oha_load() {
    local round=$1 workload=$2 case=$3 name=$4 role=$5 file=$6 connections=$7 seconds=$8
    local out="$WORK/output/oha.txt" json="$WORK/output/oha.json" streams=1
    [ "${9:-}" != -p ] || streams=${10}
    probe_row "$name" "$role" "$file"
    # What is under way at a time, on streams or connections.
    begin "$workload" "$case" "$name" "$role" $((connections * streams)) "$seconds"
    rm -f "$json"
    oha --no-tui --output-format json -o "$json" --insecure -t 10s -c "$connections" -z "${seconds}s" -w \
        "${@:9}" ${OHA[@]+"${OHA[@]}"} "$URL" >"$out" 2>&1 </dev/null || failed_load oha "$out"
    if python3 "$BENCH/oha.py" "$json" >"$out"; then
        take "$out" seconds count bytes p50_ms p75_ms p90_ms p99_ms p999_ms max_ms errors non_2xx
        ROW[closes]=0
        # oha counts bodies alone.
        ROW[expected_bytes]=$(stat -c %s "$WORK/www/$file")
    else
        ROW[count]=0 ROW[errors]=1
    fi
    finish "$round"
}

# tunnel_load ROUND WORKLOAD CASE NAME ROLE TARGET COUNT SECONDS: connect_load,
# short tunnels or bulk.
tunnel_load() {
    local round=$1 workload=$2 case=$3 name=$4 role=$5 target=$6 count=$7 seconds=$8
    local out="$WORK/output/tunnel.txt" through=() kind=tunnels
    [ "$workload" = bulk ] && kind=bulk
    [ "$role" = direct ] || through=(--proxy "127.0.0.1:${PORTS[$name]}" --user username:password)
    begin "$workload" "$case" "$name" "$role" "$count" "$seconds"
    "$WORK/connect_load" "$kind" ${through[@]+"${through[@]}"} --target "127.0.0.1:$target" \
        --tunnels "$count" --seconds "$seconds" >"$out" 2>&1 </dev/null || failed_load connect_load "$out"
    take "$out" seconds count p50_ms p75_ms p90_ms p99_ms p999_ms max_ms errors
    ROW[non_2xx]=$(value "$out" refused)
    ROW[closes]=0
    finish "$round"
}

# idle_load ROUND NAME ROLE TARGET COUNT: tunnels that have carried 64 bytes each
# way and are silent since; what they take of the proxy's memory and descriptors.
idle_load() {
    local round=$1 name=$2 role=$3 target=$4 count=$5
    local out="$WORK/output/idle.txt" hold="$WORK/hold" client tries rss files
    rm -f "$hold"
    mkfifo "$hold"
    begin idle "$count" "$name" "$role" "$count" 0
    wait "$LOOK_PID"
    rss=$(rss_kib "$SUBJECT") files=$(descriptors "$SUBJECT")
    : >"$out"
    "$WORK/connect_load" idle --proxy "127.0.0.1:${PORTS[$name]}" --user username:password \
        --target "127.0.0.1:$target" --tunnels "$count" >"$out" 2>&1 <"$hold" &
    client=$!
    STARTED+=("$client")
    # It holds the tunnels as long as this end is open.
    exec 9>"$hold"
    for ((tries = 0; tries < 600; tries++)); do
        [ -s "$out" ] && break
        kill -0 "$client" 2>/dev/null || break
        sleep 0.1
    done
    # Long enough for the proxy to notice that they are idle.
    sleep "$IDLE_SECONDS"
    take "$out" seconds count errors
    ROW[non_2xx]=$(value "$out" refused)
    ROW[rss_kib]=$(($(rss_kib "$SUBJECT") - rss))
    ROW[descriptors]=$(($(descriptors "$SUBJECT") - files))
    exec 9>&-
    wait "$client" || note "idle tunnels of $name: $(tr '\n' ' ' <"$out")"
    unset 'STARTED[-1]'
    ROW[closes]=$(value "$out" lost)
    finish "$round"
}
