# shellcheck shell=bash
# What single features cost: Tollgate beside itself, differently configured, in
# pairs that alternate. Sourced by run.sh.
# shellcheck disable=SC2034,SC2154  # shared with the files that source this one

# argon2id of "password", with the least memory and passes that there are: ten
# thousand passwords have to be verified once before they are warm, and what is
# measured does not hash.
# shellcheck disable=SC2016  # the dollars are the hash's own
ARGON2ID='$argon2id$v=19$m=8,t=1,p=1$YmVuY2hzYWx0MGJlbmNocw$LQ4w7J4DQMLi4UBhO4t/ZKmwGm5ncJFNzsPHxVESuOg'

# users_file FILE COUNT: user00000, user00001, ...
users_file() {
    awk -v n="$2" -v hash="$ARGON2ID" 'BEGIN { for (i = 0; i < n; i++) printf "user%05d:%s\n", i, hash }' >"$1"
    chmod 644 "$1"
}

# variant NAME [SETTING=VALUE...]: one more Tollgate.
variant() {
    start_peer tollgate "tollgate:$1" "${@:2}" || die "tollgate does not run with $1"
    VARIANTS+=("tollgate:$1")
}

# pairs WORKLOAD ROLE FILE [ARGUMENT...]: the variants in turns, the other way
# round every second time. An argument NAME=users=N is for that variant alone.
pairs() {
    local workload=$1 role=$2 file=$3 round name argument arguments order seconds
    shift 3
    for ((round = 0; round <= COST_ROUNDS; round++)); do
        another_round "$round" || break
        note "$workload: round $round of $COST_ROUNDS"
        order=("${VARIANTS[@]}")
        if ((round % 2)); then
            mapfile -t order < <(printf '%s\n' "${VARIANTS[@]}" | tac)
        fi
        for name in "${order[@]}"; do
            arguments=()
            for argument in "$@"; do
                case "$argument" in
                    users=* | url=*) arguments+=("$argument") ;;
                    "$name="*) arguments+=("${argument#"$name="}") ;;
                esac
            done
            # Round 0 warms up and is not counted: long enough for every user's turn.
            seconds=$((round > 0 || SECONDS_EACH > 4 ? SECONDS_EACH : 4))
            wrk_load "$round" "$workload" "${name#tollgate:}" "$name" "$role" "$file" "$CONNECTIONS" "$seconds" \
                ${arguments[@]+"${arguments[@]}"}
        done
    done
}

fresh_variants() {
    stop_all "$KEEP"
    PIDS=() PORTS=() VARIANTS=()
}

auth_workload() {
    fresh_variants
    users_file "$WORK/users.1" 1
    users_file "$WORK/users.10000" 10000
    variant 1-user "HTPASSWD=$WORK/users.1"
    variant 10000-users "HTPASSWD=$WORK/users.10000"
    pairs auth gateway 71B "tollgate:1-user=users=1" "tollgate:10000-users=users=10000"
}

log_workload() {
    fresh_variants
    variant off
    variant json "ACCESS_LOG=$WORK/json.log" LOG_FORMAT=json
    variant combined "ACCESS_LOG=$WORK/combined.log" LOG_FORMAT=combined
    pairs log gateway 71B
}

# Lists that do not match, so that all of them is looked at; the origin has a
# name here, since lists of domains do not apply to addresses.
policy_workload() {
    local networks rules
    fresh_variants
    awk 'BEGIN { for (i = 0; i < 100000; i++) print ".host" i ".denied.example" }' >"$WORK/denied.txt"
    chmod 644 "$WORK/denied.txt"
    networks=$(awk 'BEGIN { for (i = 0; i < 1000; i++) printf "%s\"203.%d.%d.0/24\"", i ? ", " : "", i / 250, i % 250 }')
    variant off
    variant lists "DENY_DOMAINS=[\"@$WORK/denied.txt\"]" "DENY_NETWORKS=[$networks]"
    # The last of 200 rules admits.
    rules=$(awk 'BEGIN {
        for (i = 1; i < 200; i++) printf "{ name: r%d, action: deny, users: [nobody%d], domains: [\".r%d.example\"] }, ", i, i, i
        print "{ name: last, action: admit, users: [username] }"
    }')
    if rules_load "policy: { rules: [$rules] }"; then
        variant rules "POLICY=policy: { rules: [$rules] }"
    else
        remark "This build knows no policy rules: their cost was not measured."
    fi
    pairs policy forward 71B "url=http://localhost:$ORIGIN/71B"
}

# rules_load POLICY: whether this build takes a policy.
rules_load() {
    (
        export PORT=9 NAME=check HTPASSWD=$WORK/users.htpasswd ACCESS_LOG=off LOG_FORMAT=json DENY_NETWORKS='[]' DENY_DOMAINS='[]' POLICY=$1 HOOK=
        # Where the configuration wants its files to be.
        mkdir -p "$WORK/$NAME"
        render "$BENCH/peers/tollgate.yaml" >"$WORK/check.yaml"
        "$TOLLGATE" check -c "$WORK/check.yaml" >"$WORK/output/check.out" 2>&1
    )
}
