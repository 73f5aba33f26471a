#!/usr/bin/env bash
# Builds an OpenTelemetry Collector from the Go modules that manifest.yaml names, into .build/otelcol.
# Needs Go. About two minutes of CPU time the first time; nothing when it is there and the manifest is older.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The builder and the components are released together.
version=v$(sed -n 's/^  version: //p' manifest.yaml)
if [ .build/otelcol -nt manifest.yaml ]; then
    exit 0
fi
mkdir -p .build
GOBIN=$PWD/.build go install "go.opentelemetry.io/collector/cmd/builder@$version"
# Built in a folder of its own, so that a build that was interrupted leaves no program behind.
rm -rf .build/otelcol .build/sources
.build/builder --config manifest.yaml
mv .build/sources/otelcol .build/otelcol
