# shellcheck shell=bash
# The binaries that are measured and the load generator. Sourced by run.sh and
# smoke.sh.
# shellcheck disable=SC2154  # shared with the files that source this one

# build_tollgate PROFILE: sets TOLLGATE unless it is given.
build_tollgate() {
    [ -z "${TOLLGATE:-}" ] || return 0
    note "building tollgate, profile $1"
    TOLLGATE=$(bash "$ROOT/scripts/build.sh" --profile "$1")
}

# build_yardsticks PROFILE NAME...: the bare programs of examples/. As examples
# they would be built with the features that tests want of their dependencies;
# here they get Tollgate's own, its lock file and its profiles.
build_yardsticks() {
    local profile=$1 name target_dir package=$WORK/yardsticks
    shift
    mkdir -p "$package"
    cp "$ROOT/Cargo.lock" "$package/"
    {
        printf '[package]\nname = "tollgate"\nversion = "%s"\nedition = "2024"\nautobins = false\n' \
            "$(awk -F'"' '/^version = / { print $2; exit }' "$ROOT/Cargo.toml")"
        for name in "$@"; do
            printf '[[bin]]\nname = "%s"\npath = "%s/examples/%s.rs"\n' "$name" "$ROOT" "$name"
        done
        awk '/^\[/ { keep = /^\[(dependencies|profile\.)/ } keep' "$ROOT/Cargo.toml"
    } >"$package/Cargo.toml"
    note "building the yardsticks ($*), profile $profile"
    # Not --locked: cargo drops from the copy what only tests want.
    target_dir=$(bash "$ROOT/scripts/target-dir.sh")
    CARGO_TARGET_DIR=$target_dir \
        cargo build --manifest-path "$package/Cargo.toml" --profile "$profile"
    YARDSTICKS=$target_dir/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}$profile
}

# build_embedded PROFILE: the reference hook of examples/, which has Tollgate as a library.
build_embedded() {
    local target_dir package=$WORK/embedded
    [ -z "${EMBEDDED:-}" ] || return 0
    mkdir -p "$package"
    cp "$ROOT/Cargo.lock" "$package/"
    {
        printf '[package]\nname = "embedded"\nversion = "0.0.0"\nedition = "2024"\nautobins = false\n'
        printf '[[bin]]\nname = "embedded"\npath = "%s/examples/reference_hook.rs"\n' "$ROOT"
        printf '[dependencies]\ntollgate = { path = "%s" }\nanyhow = "1"\n' "$ROOT"
        awk '/^\[/ { keep = /^\[profile\./ } keep' "$ROOT/Cargo.toml"
    } >"$package/Cargo.toml"
    note "building the embedded hook, profile $1"
    target_dir=$(bash "$ROOT/scripts/target-dir.sh")
    CARGO_TARGET_DIR=$target_dir cargo build --manifest-path "$package/Cargo.toml" --profile "$1" || return
    EMBEDDED=$target_dir/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}$1/embedded
}

# build_binaries: Tollgate, the yardsticks that are wanted, the load generator.
# Only Tollgate must be there.
build_binaries() {
    local wanted=()
    build_tollgate "$PROFILE"
    case " $PEERS " in *" bare-pingora "*) [ -n "${BARE_PINGORA:-}" ] || wanted+=(bare_pingora) ;; esac
    case " $PEERS " in *" bare-tokio "*) [ -n "${BARE_TOKIO:-}" ] || wanted+=(bare_tokio) ;; esac
    if [ "${#wanted[@]}" -gt 0 ]; then
        if build_yardsticks "$PROFILE" "${wanted[@]}"; then
            BARE_PINGORA=${BARE_PINGORA:-$YARDSTICKS/bare_pingora}
            BARE_TOKIO=${BARE_TOKIO:-$YARDSTICKS/bare_tokio}
        else
            note "the yardsticks do not build: left out"
        fi
    fi
    case "$TOLLGATE $ONLY $PEERS " in
        none*) ;;
        *" hooks "*" embedded "*) build_embedded "$PROFILE" || note "the embedded hook does not build: left out" ;;
    esac
    # Only std, so no package is needed.
    rustc --edition 2024 -C opt-level=3 -o "$WORK/connect_load" "$ROOT/examples/connect_load/main.rs"
}
