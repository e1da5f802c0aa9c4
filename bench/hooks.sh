# shellcheck shell=bash
# What a hook adds to a request: each gateway without and with the reference hook
# of hooks/, in pairs that alternate. Sourced by run.sh.
# shellcheck disable=SC2034,SC2153,SC2154  # shared with the files that source this one

# The load, to which two of the hook's three conditions apply.
HOOK_HOST='Host: wiki.corp.example' HOOK_AGENT='User-Agent: curl/8.5.0'

# hook_settings PEER: SETTINGS, with which the peer runs the hook. False when
# it cannot, with a line that says why.
hook_settings() {
    case "$1" in
        # Indented as peers/tollgate.yaml has it.
        tollgate) SETTINGS=("HOOK=scripts: [{ name: reference, roles: [gateway], file: $WORK/hooks/hook.rhai }]") ;;
        embedded) SETTINGS=(EMBEDDED_HOOK=yes) ;;
        haproxy)
            installed haproxy-lua || {
                remark "This haproxy has no Lua: its hook was not measured."
                return 1
            }
            # A state for each thread: with lua-load the threads wait for each other.
            SETTINGS=("HOOK_LOAD=lua-load-per-thread $WORK/hooks/haproxy.lua" "HOOK=http-request lua.hook")
            ;;
        nginx)
            installed nginx-lua || {
                remark "nginx has no Lua module here (Debian's libnginx-mod-http-lua): its hook was not measured."
                return 1
            }
            SETTINGS=("HOOK_LOAD=load_module ${NGINX_LUA%/*}/ndk_http_module.so; load_module $NGINX_LUA;"
                "HOOK=access_by_lua_file $WORK/hooks/nginx.lua;")
            ;;
    esac
}

# hook_answer NAME PATH [CURL-ARGUMENT...]: status and body.
hook_answer() {
    way "$1" gateway "$2"
    curl -s -m 10 "${CURL[@]}" "${CURL_AUTH[@]}" "${@:3}" -w '%{http_code}' "$URL"
}

# verify_hook NAME: whether the three conditions hold when they should, and only then.
verify_hook() {
    [ "$(hook_answer "$1" .hook -H "$HOOK_HOST" -H "$HOOK_AGENT")" = 'yes curl200' ] &&
        [ "$(hook_answer "$1" .hook -H 'Host: corp.example.org' -H 'User-Agent: wget')" = ' 200' ] &&
        [ "$(hook_answer "$1" admin/page -o "$WORK/got")" = 403 ] &&
        [ "$(hook_answer "$1" administration -o "$WORK/got")" = 404 ]
}

hooks_workload() {
    local round peer name entry order SETTINGS
    stop_all "$KEEP"
    PIDS=() PORTS=() ROWS=()
    # nginx reads its script as a user who may not come into the repository.
    cp -r "$BENCH/hooks" "$WORK/" && chmod -R a+rX "$WORK/hooks"
    for peer in tollgate embedded haproxy nginx; do
        case " $PEERS " in *" $peer "*) ;; *) continue ;; esac
        # What is not there at all has its line from start_peer.
        if installed "$peer"; then hook_settings "$peer" || continue; fi
        name=$peer:plain
        start_peer "$peer" "$name" EMBEDDED_HOOK= && verify "$name" gateway 71B || continue
        start_peer "$peer" "$peer:hook" "${SETTINGS[@]}" && verify "$peer:hook" gateway 71B && verify_hook "$peer:hook" || {
            [ "$peer" != tollgate ] || die "tollgate does not run the hook"
            remark "$peer does not run the hook as it should: left out."
            continue
        }
        ROWS+=("$name" "$peer:hook")
    done
    [ "${#ROWS[@]}" -gt 0 ] || {
        remark "There is nothing that runs a hook."
        return
    }
    # Round 0 warms up. Every second time the other way round.
    for ((round = 0; round <= COST_ROUNDS; round++)); do
        another_round "$round" || break
        note "hooks: round $round of $COST_ROUNDS"
        order=("${ROWS[@]}")
        if ((round % 2)); then
            mapfile -t order < <(printf '%s\n' "${ROWS[@]}" | tac)
        fi
        for name in "${order[@]}"; do
            wrk_load "$round" hooks "${name#*:}" "$name" gateway 71B "$CONNECTIONS" "$SECONDS_EACH" \
                "header=$HOOK_HOST" "header=$HOOK_AGENT"
        done
    done
}
