#!/usr/bin/env bash
# The isolation forest beside scikit-learn's, in one run on one core; prints tables and fails below the bars.
#
#   PYTHON=.venv/bin/python benches/forest.sh DATA/machine-*.csv
#
# PYTHON needs scikit-learn. The files are labelled tables: a time, metrics, and a column `label`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --package bellwether-models --example forest_times

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
exec taskset -c "${CORE:-1}" "${PYTHON:-python3}" benches/forest.py \
    "${CARGO_TARGET_DIR:-target}/release/examples/forest_times" "$@"
