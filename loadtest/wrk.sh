#!/usr/bin/env bash
# Load with many keys from wrk:  loadtest/wrk.sh URL KEYS [CONNECTIONS] [SECONDS]
#
# URL is a gateway's, for example http://127.0.0.1:8080/orders/1k; KEYS is a file with one API key
# a line. Every request carries a key picked at random.
set -euo pipefail
if [[ $# -lt 2 ]]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if ! command -v wrk >/dev/null; then
    echo "wrk is missing; install it: apt-get update && apt-get install --yes wrk" >&2
    exit 1
fi
url=$1 keys=$2 connections=${3:-64} seconds=${4:-10}
if [[ ! -s $keys ]]; then
    echo "$keys is no file of keys" >&2
    exit 1
fi
exec wrk --threads 1 --connections "$connections" --duration "${seconds}s" --latency \
    --script "$(dirname "$0")/many_keys.lua" "$url" -- "$keys" "$RANDOM"
