# shellcheck shell=bash
# Processes, ports and counters for the benchmark. Sourced by run.sh and
# smoke.sh, which set WORK (the run's own directory).
# shellcheck disable=SC2034  # read by the files that source this one

TICKS=$(getconf CLK_TCK)
PAGE=$(getconf PAGESIZE)
STARTED=()
# Directories outside of WORK that were made here.
MADE=()

note() { printf 'bench: %s\n' "$*" >&2; }

die() {
    note "$*"
    exit 1
}

# remark TEXT: a line for the summary, once, and on the terminal.
remark() {
    note "$*"
    [ -e "${RUN:-}/remarks.txt" ] || return 0
    grep -qxF -e "$*" "$RUN/remarks.txt" || echo "$*" >>"$RUN/remarks.txt"
}

have() { command -v "$1" >/dev/null 2>&1; }

# make_work: the run's own directory, and the end of all that it started,
# whatever ends the run.
make_work() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-bench.XXXXXX")
    export DIR=$WORK
    trap 'stop_all; clean_up' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # Servers that give up root must still come in.
    chmod 755 "$WORK"
    USER=nobody
    [ "$(id -u)" -eq 0 ] || USER=$(id -un)
    GROUP=$(id -gn "$USER")
    export USER GROUP
    mkdir -p "$WORK/output" "$WORK/www"
}

clean_up() {
    local directory
    rm -rf "$WORK"
    # What Squid's processes met at, should it have left any of it.
    rm -f "/run/squid/bench$$-"* "/dev/shm/bench$$-"*
    for directory in ${MADE[@]+"${MADE[@]}"}; do
        rm -rf "$directory"
    done
}

# raise_file_limit: as far as this user may; FILES is what came of it.
raise_file_limit() {
    ulimit -n 131072 2>/dev/null || ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    FILES=$(ulimit -n)
    [ "$FILES" = unlimited ] && FILES=131072
    # What a proxy may hold: two descriptors a connection, and some to spare.
    MAXCONN=$(((FILES - 200) / 2))
    [ "$MAXCONN" -le 30000 ] || MAXCONN=30000
    export FILES MAXCONN
}

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
    "$@" >"$WORK/output/$name.out" 2>&1 </dev/null &
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
    tail -n 20 "$WORK/output/$name.out" >&2
    return 1
}

# stop PID: ends a process that was started here, and its children if it leaves any.
stop() {
    local pid=$1 tries children child
    children=$(process_tree "$pid" pids)
    kill -TERM "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.03
    done
    for child in $children; do
        kill -KILL "$child" 2>/dev/null || true
    done
    wait "$pid" 2>/dev/null || true
}

# Ends what was started since there were so many (none given: all), the
# youngest first, by pid.
stop_all() {
    local keep=${1:-0} index
    for ((index = ${#STARTED[@]} - 1; index >= keep; index--)); do
        stop "${STARTED[index]}"
        unset "STARTED[index]"
    done
}

# process_tree PID pids: the process and its descendants that run.
# process_tree PID sums: their user ticks, system ticks and resident pages.
# A child that has exited counts through its parent, which waited for it.
process_tree() {
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v root="$1" -v what="$2" '
        {
            pid = $1
            # The name in parentheses is field 2 and may hold anything.
            sub(/^.*\) /, "")
            parent[pid] = $2
            user[pid] = $12 + $14; kernel[pid] = $13 + $15; resident[pid] = $22
        }
        END {
            for (pid in parent) {
                for (at = pid; at in parent && at != root; at = parent[at]);
                if (at != root) continue
                if (what == "pids") print pid
                u += user[pid]; k += kernel[pid]; r += resident[pid]
            }
            if (what == "sums") printf "%d %d %d\n", u, k, r
        }'
}

# cpu_ticks PID: user and system ticks so far.
cpu_ticks() {
    local user kernel rest
    read -r user kernel rest < <(process_tree "$1" sums)
    echo "$user $kernel"
}

# rss_kib PID: what is resident now; what processes share counts for each.
rss_kib() {
    local user kernel pages
    read -r user kernel pages < <(process_tree "$1" sums)
    echo $((pages * PAGE / 1024))
}

# descriptors PID: open files of the process and its descendants.
descriptors() {
    local pid total=0 files
    for pid in $(process_tree "$1" pids); do
        files=("/proc/$pid/fd/"*)
        total=$((total + ${#files[@]}))
    done
    echo "$total"
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

# value FILE KEY: what KEY=... stands for in a line of results.
value() {
    awk -v key="$2" '{
        for (i = 1; i <= NF; i++)
            if (index($i, key "=") == 1) { print substr($i, length(key) + 2); exit }
    }' "$1"
}
