#!/usr/bin/env bash
# Measures the real binary against the floors: builds for release, then starts one receiver after the
# other on one core, loads it from the other core and prints a table for each signal.
#
#   benches/load.sh [SECONDS]      seconds a row; default 8
#
# In the environment: ROUNDS (default 1; figures are medians), SIGNALS (default metrics,spans; also logs),
# KIND of the points (default gauge; also sum, histogram), CONNECTIONS (default 4), ROWS (default all; as '(a),(d)'),
# CORE_RECEIVER and CORE_LOAD (default 0 and 1).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --package bellwether --package bellwether-benches

target=${CARGO_TARGET_DIR:-target}/release
exec taskset -c "${CORE_LOAD:-1}" "$target/load" table --bellwether "$target/bellwether" \
    --core "${CORE_RECEIVER:-0}" --seconds "${1:-8}" --rounds "${ROUNDS:-1}" \
    --signal "${SIGNALS:-metrics,spans}" --kind "${KIND:-gauge}" --connections "${CONNECTIONS:-4}" ${ROWS:+--rows "$ROWS"}
