# shellcheck shell=bash
# Sourced by scripts/test and .ci/run: steps with a headline and a time, a summary at the end.

STEPS=()

# Runs a command under a headline; the first failure ends the run, after the summary.
step() {
    local title=$1 start=$SECONDS
    shift
    printf '\n=== %s: %s\n' "$title" "$*"
    if "$@"; then
        STEPS+=("$(printf 'ok     %5d s  %s' "$((SECONDS - start))" "$title")")
    else
        local code=$?
        STEPS+=("$(printf 'FAILED %5d s  %s' "$((SECONDS - start))" "$title")")
        summary
        exit "$code"
    fi
}

summary() {
    printf '\n=== %s: %s\n' "$0" "$(date -u +%FT%TZ)"
    printf '%s\n' "${STEPS[@]}"
}

# The system packages that the tests use: strace injects faults, compilers build SQLite and libFuzzer.
packages() {
    local missing=()
    command -v strace >/dev/null || missing+=(strace)
    command -v cc >/dev/null || missing+=(gcc)
    # libFuzzer is written in it.
    command -v c++ >/dev/null || missing+=(g++)
    # The tests' TLS client that is not of our making.
    command -v openssl >/dev/null || missing+=(openssl)
    command -v setpriv >/dev/null || missing+=(util-linux)
    [[ -e /usr/include/stdlib.h ]] || missing+=(libc6-dev)
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing; install Rust: https://rustup.rs" >&2
        exit 1
    fi
    if [[ ${#missing[@]} -eq 0 ]]; then
        return
    fi
    if [[ $(id -u) -ne 0 ]]; then
        echo "missing: ${missing[*]}; as root: apt-get update && apt-get install --yes ${missing[*]}" >&2
        exit 1
    fi
    step "update the package lists" apt-get update -qq
    step "install ${missing[*]}" \
        env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}"
}
