# shellcheck shell=bash
# Sourced by scripts/demo, loadtest/compare and loadtest/figures.

# Builds the named programs of the repository at $1 with profile $2 (`release`, or `dist` for what
# is measured), and sets RELEASE to the directory that they are in.
release() {
    local root=$1 profile=$2 tool programs=()
    shift 2
    for tool in cargo cc; do
        if ! command -v "$tool" >/dev/null; then
            echo "$0: $tool is missing; install Rust (https://rustup.rs) and a C compiler" \
                "(apt-get install gcc libc6-dev)" >&2
            exit 1
        fi
    done
    for tool in "$@"; do
        programs+=(--bin "$tool")
    done
    echo "building $* with profile $profile (the first time takes some minutes)" >&2
    # The whole workspace is selected, so that features, and with them what is already built, stay
    # the same whichever programs are asked for.
    cargo build --profile "$profile" --locked --workspace \
        --manifest-path "$root/Cargo.toml" "${programs[@]}" >&2
    # Read by those who source this.
    # shellcheck disable=SC2034
    RELEASE=${CARGO_TARGET_DIR:-$root/target}/$profile
}
