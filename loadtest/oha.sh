#!/usr/bin/env bash
# Load with many keys from oha:  loadtest/oha.sh URL KEYS PARAMETER [CONNECTIONS] [SECONDS]
#
# oha sends the same headers with every request, but picks its URL at random from a file; so the
# key travels as query PARAMETER, and the API must take its key there (`credential: { query: … }`
# in gateway.yaml). KEYS is a file with one API key a line.
set -euo pipefail
if [[ $# -lt 3 ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if ! command -v oha >/dev/null; then
    echo "oha is missing; install it: cargo install oha --locked" >&2
    exit 1
fi
url=$1 keys=$2 parameter=$3 connections=${4:-64} seconds=${5:-10}
if [[ ! -s $keys ]]; then
    echo "$keys is no file of keys" >&2
    exit 1
fi
urls=$(mktemp -t keyway-oha-XXXXXX)
trap 'rm -f "$urls"' EXIT
# URL and parameter are ours and keys are base62 with underscores: nothing needs an escape.
while IFS= read -r key; do
    [[ -z $key ]] || printf '%s?%s=%s\n' "$url" "$parameter" "$key"
done < "$keys" > "$urls"
oha --no-tui -c "$connections" -z "${seconds}s" --urls-from-file "$urls"
