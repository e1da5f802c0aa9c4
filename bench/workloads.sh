# shellcheck shell=bash
# What is measured. Each workload starts its proxies afresh and takes them in
# turns: what the machine does meanwhile hits all alike. Sourced by run.sh.
# shellcheck disable=SC2034,SC2086,SC2153,SC2154  # "peer role" pairs split on purpose; shared variables

# another_round ROUND: false when the time is used up; the first is always run.
another_round() {
    [ "$1" -le 1 ] || [ "$SECONDS" -le $((BENCH_MINUTES * 60)) ] && return
    remark "Round $1 of \`$WORKLOAD\` was left out: BENCH_MINUTES=$BENCH_MINUTES were over."
    return 1
}

# rotated ROUND: ROWS, beginning elsewhere each round, so that nobody always
# runs after the same neighbour.
rotated() {
    local shift=$((($1 - 1) * 2 % ${#ROWS[@]}))
    ORDER=("${ROWS[@]:shift}" "${ROWS[@]:0:shift}")
}

# Kept-alive connections, one payload after the other.
http_workload() {
    local round file entry
    with_peers "gateway forward" "direct tollgate bare-pingora nginx haproxy apache squid tinyproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        for file in $PAYLOADS; do
            note "http: round $round of $ROUNDS, $file"
            for entry in "${ORDER[@]}"; do
                wrk_load "$round" http "$file" $entry "$file" "$CONNECTIONS" "$SECONDS_EACH"
            done
        done
    done
}

# A new connection for each request.
close_workload() {
    local round entry
    with_peers "gateway forward" "direct tollgate nginx haproxy apache squid tinyproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        note "close: round $round of $ROUNDS"
        for entry in "${ORDER[@]}"; do
            wrk_load "$round" close 71B $entry 71B "$CONNECTIONS" "$SECONDS_EACH" close
        done
    done
}

siege_workload() {
    local round entry
    with_peers "gateway forward" "direct tollgate nginx haproxy apache squid tinyproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        note "siege: round $round of $ROUNDS"
        for entry in "${ORDER[@]}"; do
            siege_load "$round" siege 71B $entry 71B "$CONNECTIONS" "$SECONDS_EACH"
        done
    done
}

# Ever more kept-alive connections. Proxies start afresh each round: memory that
# they took for many connections would show at few.
sweep_workload() {
    local round entry connections seconds sizes=()
    for connections in $SWEEP; do
        if [ $((connections + 200)) -le "$FILES" ] && [ "$connections" -le "$MAXCONN" ]; then
            sizes+=("$connections")
        else
            remark "$connections connections were not measured: they need two descriptors each, and the limit is $FILES here."
        fi
    done
    for ((round = 1; round <= ROUNDS && round <= 2; round++)); do
        another_round "$round" || break
        with_peers "gateway forward" "direct tollgate nginx haproxy apache squid" 71B
        rotated "$round"
        for connections in ${sizes[@]+"${sizes[@]}"}; do
            note "sweep: round $round, $connections connections"
            # The more there are, the longer they take to connect.
            seconds=$((SECONDS_EACH + connections / 2500))
            for entry in "${ORDER[@]}"; do
                wrk_load "$round" sweep "$connections" $entry 71B "$connections" "$seconds"
            done
        done
    done
}

# Latency at a rate that everyone can serve; oha corrects for omissions.
latency_workload() {
    local round entry
    with_peers "gateway forward" "direct tollgate nginx haproxy apache squid tinyproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        note "latency: round $round of $ROUNDS, $RATE requests/s"
        for entry in "${ORDER[@]}"; do
            oha_load "$round" latency "$RATE/s" $entry 71B 20 $((SECONDS_EACH * 2)) -q "$RATE" --latency-correction
        done
    done
}

# target KIND: starts a server for tunnels; TARGET is its port.
target() {
    TARGET=$(free_port)
    start "$1" "$TARGET" "$WORK/connect_load" serve "$1" "127.0.0.1:$TARGET" || die "no $1 server to tunnel to"
}

# New tunnels, one after the other on each client, 64 bytes there and back.
connect_workload() {
    local round entry
    with_peers tunnel "direct tollgate bare-tokio apache squid tinyproxy" 71B
    target echo
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        note "connect: round $round of $ROUNDS"
        for entry in "${ORDER[@]}"; do
            tunnel_load "$round" connect 64B $entry "$TARGET" "$TUNNELS" "$SECONDS_EACH"
        done
    done
}

# Small pages and new tunnels once more, each proxy with its access log: who went
# where is what most of them are there for.
logged_workload() {
    local round entry
    LOGGED=yes
    with_peers "forward tunnel" "tollgate apache squid tinyproxy" 71B
    target echo
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        note "logged: round $round of $ROUNDS"
        for entry in "${ORDER[@]}"; do
            case "$entry" in
                *forward) wrk_load "$round" http "71B logged" $entry 71B "$CONNECTIONS" "$SECONDS_EACH" ;;
                *) tunnel_load "$round" connect "64B logged" $entry "$TARGET" "$TUNNELS" "$SECONDS_EACH" ;;
            esac
        done
    done
    LOGGED=
}

bulk_workload() {
    local round entry tunnels
    with_peers tunnel "direct tollgate bare-tokio apache squid tinyproxy" 71B
    target source
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        for tunnels in 1 8; do
            note "bulk: round $round of $ROUNDS, $tunnels at a time"
            for entry in "${ORDER[@]}"; do
                tunnel_load "$round" bulk "$tunnels" $entry "$TARGET" "$tunnels" "$SECONDS_EACH"
            done
        done
    done
}

idle_workload() {
    local round entry tunnels=$IDLE_TUNNELS
    # A relay may hold four descriptors of a tunnel besides its two sockets.
    if [ $((tunnels * 6 + 200)) -gt "$FILES" ]; then
        tunnels=$(((FILES - 200) / 6))
        remark "$tunnels idle tunnels, not $IDLE_TUNNELS: the limit of descriptors is $FILES here."
    fi
    for ((round = 1; round <= ROUNDS && round <= 2; round++)); do
        another_round "$round" || break
        with_peers tunnel "tollgate bare-tokio apache squid tinyproxy" 71B
        rotated "$round"
        note "idle: round $round, $tunnels tunnels"
        for entry in "${ORDER[@]}"; do
            # What the one before left open must not count here.
            target hold
            idle_load "$round" $entry "$TARGET" "$tunnels"
            stop_all $((${#STARTED[@]} - 1))
        done
    done
}

# HTTP/2 over TLS, to servers as many requests at a time on few connections, as a
# browser has them; to a proxy, where oha has one on each connection, more of those.
http2_workload() {
    local round entry file load
    HTTP2=yes
    with_peers "gateway forward tunnel" "direct tollgate nginx haproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        for file in 71B 16K; do
            note "http2: round $round of $ROUNDS, $file"
            for entry in "${ORDER[@]}"; do
                case "$entry" in
                    *" forward" | *" tunnel") load=("$TUNNELS" "$SECONDS_EACH") ;;
                    *) load=(5 "$SECONDS_EACH" -p $((TUNNELS / 5))) ;;
                esac
                oha_load "$round" http2 "$file" $entry "$file" "${load[@]}"
            done
        done
    done
    HTTP2=
}

# HTTPS requests through tunnels that stay open. New tunnels are measured by
# connect: oha sets TLS up anew for each at a cost that hides the proxy's.
tls_workload() {
    local round entry file
    with_peers tunnel "direct tollgate bare-tokio apache squid tinyproxy" 71B
    for ((round = 1; round <= ROUNDS; round++)); do
        another_round "$round" || break
        rotated "$round"
        for file in 71B 16K; do
            note "tls: round $round of $ROUNDS, $file"
            for entry in "${ORDER[@]}"; do
                oha_load "$round" tls "$file" $entry "$file" "$TUNNELS" "$SECONDS_EACH"
            done
        done
    done
}
