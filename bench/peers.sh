# shellcheck shell=bash
# Starts the origin and the proxies, and says how to ask them. Sourced by run.sh
# and smoke.sh. A proxy that runs has its pid and port in PIDS and PORTS.
# shellcheck disable=SC2034,SC2153,SC2154  # shared with the files that source this one

declare -A PIDS PORTS PORTS_TLS
# Not empty: clients speak HTTP/2 over TLS to the proxies.
HTTP2=
# Not empty: the forward proxies write an access log, to a file each.
LOGGED=

# make_accounts: one user everywhere. Each server gets a hash that costs it
# least: Tollgate and Squid remember what they have verified, Apache does not.
make_accounts() {
    printf 'username:%s\n' "$(openssl passwd -apr1 -salt benchmrk password)" >"$WORK/users.htpasswd"
    printf 'username:{SHA}%s\n' "$(printf password | openssl dgst -sha1 -binary | openssl base64)" >"$WORK/apache.htpasswd"
    chmod 644 "$WORK/users.htpasswd" "$WORK/apache.htpasswd"
    BASIC=$(printf username:password | openssl base64)
    FIELD="Proxy-Authorization: Basic $BASIC"
    export BASIC
}

# start_origin: nginx with the payloads, plain and with a self-made certificate.
start_origin() {
    ORIGIN=$(free_port)
    ORIGIN_TLS=$(free_port)
    while [ "$ORIGIN_TLS" = "$ORIGIN" ]; do ORIGIN_TLS=$(free_port); done
    export ORIGIN ORIGIN_TLS
    cp "$BENCH/www/index.html" "$WORK/www/71B"
    payload 1K 1024
    payload 16K 16384
    payload 128K 131072
    payload 1M 1048576
    chmod -R a+rX "$WORK/www"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
        -keyout "$WORK/origin.key" -out "$WORK/origin.crt" 2>"$WORK/output/openssl.out" ||
        die "openssl made no certificate: $(tail -n 1 "$WORK/output/openssl.out")"
    cat "$WORK/origin.crt" "$WORK/origin.key" >"$WORK/origin.pem"
    render "$BENCH/peers/origin.conf" >"$WORK/origin.conf"
    start origin "$ORIGIN" nginx -p "$WORK" -e "$WORK/origin.log" -c "$WORK/origin.conf" ||
        die "there is no origin to measure with"
}

# origin_counts: connections and requests that the origin has accepted so far.
origin_counts() {
    curl -s -m 5 --noproxy '*' "http://127.0.0.1:$ORIGIN/.status" | awk 'NR == 3 { print $1, $3 }'
}

# squid_state: Squid's processes talk through sockets in a directory whose place
# is compiled in. Where that cannot be had Squid gets one process.
squid_state() {
    local state=/run/squid
    export SQUID_WORKERS=$WORKERS SQUID_USER=$USER
    [ -e "$state" ] || { [ "$(id -u)" -eq 0 ] && mkdir "$state" 2>/dev/null && chown "$USER" "$state" && MADE+=("$state"); } || true
    if [ -d "$state" ] && [ "$(id -u)" -eq 0 ]; then
        SQUID_USER=$(stat -c %U "$state")
    elif ! [ -w "$state" ] || ! [ -x "$state" ]; then
        SQUID_WORKERS=1
        [ "$WORKERS" -eq 1 ] || remark "Squid has one process here: its processes cannot meet in $state."
    fi
}

# installed NAME: finds what the peer needs.
installed() {
    case "$1" in
        tollgate) [ "$TOLLGATE" != none ] && have "$TOLLGATE" ;;
        embedded) [ -n "${EMBEDDED:-}" ] && have "$EMBEDDED" ;;
        bare-pingora) [ -n "${BARE_PINGORA:-}" ] && have "$BARE_PINGORA" ;;
        bare-tokio) [ -n "${BARE_TOKIO:-}" ] && have "$BARE_TOKIO" ;;
        squid)
            NCSA=$(compgen -G "/usr/lib*/squid/basic_ncsa_auth" || compgen -G "/usr/libexec/squid/basic_ncsa_auth" || true)
            export NCSA
            have squid && [ -n "$NCSA" ] && squid_state
            ;;
        apache)
            APACHE=$(command -v apache2 || command -v httpd || true)
            APACHE_MODULES=$(compgen -G "/usr/lib*/apache2/modules" || compgen -G "/usr/lib*/httpd/modules" || true)
            APACHE_THREADS=$((256 * WORKERS))
            export APACHE_MODULES APACHE_THREADS
            [ -n "$APACHE" ] && [ -n "$APACHE_MODULES" ]
            ;;
        nginx-lua)
            NGINX_LUA=$(compgen -G "/usr/lib*/nginx/modules/ngx_http_lua_module.so" || true)
            have nginx && [ -n "$NGINX_LUA" ]
            ;;
        haproxy-lua) have haproxy && grep -qE '\+LUA|USE_LUA=1' <<<"$(haproxy -vv)" ;;
        *) have "$1" ;;
    esac
}

# start_peer PEER [NAME [SETTING=VALUE...]]: false, with a line that says why,
# when it is not there. NAME tells several of one kind apart; the settings fill in
# the peer's file in peers/.
start_peer() {
    local peer=$1 name=${2:-$1} template config setting
    installed "$peer" || {
        remark "$peer is not installed: left out."
        return 1
    }
    PORT=$(free_port)
    PORT_TLS=$(free_port)
    while [ "$PORT_TLS" = "$PORT" ]; do PORT_TLS=$(free_port); done
    export PORT PORT_TLS NAME=$name HTPASSWD=$WORK/users.htpasswd ACCESS_LOG=off LOG_FORMAT=json WORK_STEALING=${WORK_STEALING:-false} DENY_NETWORKS='[]' DENY_DOMAINS='[]' POLICY= HOOK= HOOK_LOAD=
    export SQUID_LOG=none TINYPROXY_LEVEL=Critical
    APACHE_LOG=()
    if [ -n "$LOGGED" ]; then
        ACCESS_LOG=$WORK/$name/access.log SQUID_LOG=daemon:$WORK/$name/access.log TINYPROXY_LEVEL=Connect
        APACHE_LOG=(-DLOGGED)
    fi
    for setting in "${@:3}"; do
        export "${setting?}"
    done
    mkdir -p "$WORK/$name"
    chmod 1777 "$WORK/$name"
    case "$peer" in
        bare-*) ;;
        *)
            template=$(compgen -G "$BENCH/peers/${peer/embedded/tollgate}.*")
            config="$WORK/$name/$peer.${template##*.}"
            render "$template" >"$config"
            ;;
    esac
    case "$peer" in
        tollgate) start "$name" "$PORT" "$TOLLGATE" -c "$config" ;;
        embedded) start "$name" "$PORT" "$EMBEDDED" -c "$config" ${EMBEDDED_HOOK:+hook} ;;
        bare-pingora) start "$name" "$PORT" "$BARE_PINGORA" "127.0.0.1:$PORT" "127.0.0.1:$ORIGIN" "Basic $BASIC" "$WORKERS" ;;
        bare-tokio) start "$name" "$PORT" "$BARE_TOKIO" "127.0.0.1:$PORT" "Basic $BASIC" "$WORKERS" ;;
        nginx) start "$name" "$PORT" nginx -p "$WORK/$name" -e "$WORK/$name/error.log" -c "$config" ;;
        haproxy) start "$name" "$PORT" haproxy -db -f "$config" ;;
        apache) start "$name" "$PORT" "$APACHE" -DFOREGROUND ${APACHE_LOG[@]+"${APACHE_LOG[@]}"} -f "$config" ;;
        # With more than one worker Squid needs its master process. The name
        # keeps it apart from a Squid that this machine may run.
        squid)
            if [ "$SQUID_WORKERS" -gt 1 ]; then
                start "$name" "$PORT" squid --foreground -n "bench$$" -f "$config"
            else
                start "$name" "$PORT" squid -N -n "bench$$" -f "$config"
            fi
            ;;
        tinyproxy) start "$name" "$PORT" tinyproxy -d -c "$config" ;;
        *) die "no such peer: $peer" ;;
    esac || {
        remark "$name does not start: left out."
        return 1
    }
    PIDS[$name]=$STARTED_PID
    PORTS[$name]=$PORT
    PORTS_TLS[$name]=$PORT_TLS
}

# way NAME ROLE FILE: sets URL (what the client asks for), VIA (whom it asks) and
# the arguments that make wrk, curl, siege and oha take this way.
way() {
    local name=$1 role=$2 file=$3
    local port=${PORTS[$name]:-0}
    URL="http://127.0.0.1:$ORIGIN/$file" VIA="http://127.0.0.1:$port/"
    WRK=() CURL=(--noproxy '*') CURL_AUTH=(-H "$FIELD") SIEGE=() OHA=()
    [ "$role" != tunnel ] || URL="https://127.0.0.1:$ORIGIN_TLS/$file"
    [ -z "$HTTP2" ] || {
        http2_way "$@"
        return
    }
    case "$role" in
        direct) VIA=$URL ;;
        gateway)
            VIA="http://127.0.0.1:$port/$file"
            URL=$VIA
            OHA=(-H "$FIELD")
            ;;
        forward | tunnel)
            WRK=("url=$URL")
            CURL=(-x "http://127.0.0.1:$port") CURL_AUTH=(-U username:password)
            SIEGE=("proxy-host = 127.0.0.1" "proxy-port = $port")
            OHA=(-x "http://127.0.0.1:$port" --proxy-header "$FIELD")
            # oha's CONNECT has no Host, for which servers have to answer 400.
            [ "$role" = forward ] || OHA+=(--proxy-header "Host: 127.0.0.1:$ORIGIN_TLS")
            ;;
    esac
}

# http2_way NAME ROLE FILE: way, in HTTP/2 over TLS to whoever is asked. Not many
# versions of curl can do so to a proxy: they ask it in HTTP/1.1.
http2_way() {
    local name=$1 role=$2 file=$3
    local proxy="https://localhost:${PORTS_TLS[$name]:-0}"
    case "$role" in
        direct)
            URL="https://localhost:$ORIGIN_TLS/$file"
            CURL+=(--http2) OHA=(--http2)
            ;;
        gateway)
            URL="$proxy/$file"
            CURL+=(--http2) OHA=(--http2 -H "$FIELD")
            ;;
        forward | tunnel)
            CURL=(-x "$proxy" --proxy-insecure) CURL_AUTH=(-U username:password)
            OHA=(-x "$proxy" --proxy-http2 --http-version 1.1 --proxy-header "$FIELD")
            ;;
    esac
}

# probe NAME ROLE FILE [CURL-ARGUMENT...]: the right bytes come with credentials.
# HEAD_BYTES is the size of the answer's head.
probe() {
    local name=$1 role=$2 file=$3
    way "$name" "$role" "$file"
    HEAD_BYTES=$(curl -fsSk -m 10 "${CURL[@]}" "${CURL_AUTH[@]}" "${@:4}" -o "$WORK/got" -w '%{size_header}' "$URL") &&
        cmp "$WORK/got" "$WORK/www/$file"
}

# verify NAME ROLE FILE: the right bytes with credentials, a challenge without: 407, or 401 at a gateway.
verify() {
    local name=$1 role=$2 file=$3 status
    probe "$@" || return
    [ "$role" != direct ] || return 0
    status=$(curl -sSk -m 10 "${CURL[@]}" -o "$WORK/got" -w '%{http_code} %{http_connect}' "$URL" 2>/dev/null || true)
    case "$role $status" in
        *' 407'* | 'gateway 401'*) ;;
        *)
            note "$name $role answers $status, no challenge, to a request without credentials"
            return 1
            ;;
    esac
}

# roles_of PEER: which requests it takes.
roles_of() {
    case "$1" in
        direct) echo direct ;;
        tollgate | apache) echo gateway forward tunnel ;;
        nginx | haproxy | bare-pingora) echo gateway ;;
        squid | tinyproxy) echo forward tunnel ;;
        bare-tokio) echo tunnel ;;
    esac
}

# with_peers ROLES PEERS FILE: starts afresh those that are wanted, checks them,
# and sets ROWS to the "peer role" pairs that can be measured.
with_peers() {
    local roles=$1 peers=$2 file=$3 peer role
    stop_all "$KEEP"
    PIDS=() PORTS=() ROWS=()
    for peer in $peers; do
        case " $PEERS " in *" $peer "*) ;; *) continue ;; esac
        if [ "$peer" = direct ]; then
            verify direct direct "$file" || die "the origin does not answer"
            ROWS+=("direct direct")
            continue
        fi
        start_peer "$peer" || continue
        for role in $(roles_of "$peer"); do
            case " $roles " in *" $role "*) ;; *) continue ;; esac
            if verify "$peer" "$role" "$file"; then
                ROWS+=("$peer $role")
            elif [ "$peer" = tollgate ]; then
                die "tollgate $role does not do the work"
            else
                remark "$peer $role does not answer as it should: left out."
            fi
        done
    done
    [ "${#ROWS[@]}" -gt 0 ] || die "nobody to measure"
}
