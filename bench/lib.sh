# shellcheck shell=bash
# Processes, ports and counters for the benchmark. Sourced by run.sh, which
# sets WORK (the run's own directory).
# shellcheck disable=SC2034  # read by the files that source this one

TICKS=$(getconf CLK_TCK)
STARTED=()

note() { printf 'bench: %s\n' "$*" >&2; }

die() {
    note "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# free_port: below the ephemeral range, so that no outgoing connection takes it.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# start NAME PORT COMMAND...: runs it, waits until it listens, leaves the pid in STARTED_PID.
start() {
    local name=$1 port=$2 tries
    shift 2
    "$@" >"$WORK/$name.out" 2>&1 </dev/null &
    STARTED_PID=$!
    STARTED+=("$STARTED_PID")
    for ((tries = 0; tries < 200; tries++)); do
        if ! kill -0 "$STARTED_PID" 2>/dev/null; then
            break
        fi
        if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return 0
        fi
        sleep 0.05
    done
    note "$name does not listen on port $port; it said:"
    tail -n 20 "$WORK/$name.out" >&2
    return 1
}

# Ends what was started, the youngest first, by pid.
stop_all() {
    local index pid tries
    for ((index = ${#STARTED[@]} - 1; index >= 0; index--)); do
        pid=${STARTED[index]}
        kill -TERM "$pid" 2>/dev/null || continue
        for ((tries = 0; tries < 60; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    STARTED=()
}

# process_tree PID FIELDS: sums the fields of /proc/PID/stat over a process and
# its descendants. Fields count from 1; the name in parentheses is field 2.
process_tree() {
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v root="$1" -v fields="$2" '
        {
            pid = $1
            sub(/^.*\) /, "")
            parent[pid] = $2
            count = split(fields, list, ",")
            for (i = 1; i <= count; i++) value[pid] += $(list[i] - 2)
        }
        END {
            for (pid in parent) {
                for (at = pid; at in parent && at != root; at = parent[at]);
                if (at == root) sum += value[pid]
            }
            printf "%d\n", sum
        }'
}

# cpu_ticks PID: user and system time so far.
cpu_ticks() { process_tree "$1" 14,15; }

# rss_kb PID: what is resident now.
rss_kb() { echo $(($(process_tree "$1" 24) * $(getconf PAGESIZE) / 1024)); }

# origin_lines: what the origin has logged so far, its buffers included.
origin_lines() {
    local last now tries
    kill -USR1 "$ORIGIN_PID"
    last=-1
    for ((tries = 0; tries < 30; tries++)); do
        now=$(wc -l <"$WORK/access.log")
        [ "$now" = "$last" ] && break
        last=$now
        sleep 0.2
    done
    echo "$now"
}

# render FILE: the template with its @NAMES@ filled in from the environment.
render() {
    awk '{
        while (match($0, /@[A-Z_]+@/)) {
            name = substr($0, RSTART + 1, RLENGTH - 2)
            if (!(name in ENVIRON)) { print FILENAME ": nothing for " name > "/dev/stderr"; exit 1 }
            $0 = substr($0, 1, RSTART - 1) ENVIRON[name] substr($0, RSTART + RLENGTH)
        }
        print
    }' "$1"
}

# payload NAME BYTES: a file that does not compress.
payload() { head -c "$2" /dev/urandom >"$WORK/www/$1"; }
