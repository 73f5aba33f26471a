#!/usr/bin/env bash
# Measures the real binary against the floors: builds for release, starts the service pinned to one
# core with a data directory of its own, loads it with points and with spans from the other core,
# and prints a table for each.
#
#   benches/load.sh [SECONDS]      default 8; three rounds are worth more than one long one
#
# CORE_RECEIVER and CORE_LOAD choose the cores (default 0 and 1).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-8}
receiver_core=${CORE_RECEIVER:-0}
load_core=${CORE_LOAD:-1}

cargo build --release --bin bellwether
cargo build --release -p bellwether-benches

target=${CARGO_TARGET_DIR:-target}/release
data=$(mktemp -d)
pid=
cleanup() {
    if [[ -n $pid ]]; then kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; fi
    rm -rf "$data"
    return 0
}
trap cleanup EXIT

for signal in metrics spans; do
    # A fresh service for each signal, so that neither pays for the other's windows.
    taskset -c "$receiver_core" "$target/bellwether" serve --data-dir "$data/$signal" >"$data/$signal.log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        if (exec 3<>/dev/tcp/127.0.0.1/4317) 2>/dev/null; then break; fi
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "bellwether did not start:" >&2
            cat "$data/$signal.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    taskset -c "$load_core" "$target/load" --signal "$signal" --seconds "$seconds" \
        --endpoint 127.0.0.1:4317 --pid "$pid" --floor --floor-core "$receiver_core"
    kill "$pid"
    wait "$pid" || true
    pid=
done
