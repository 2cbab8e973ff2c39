#!/usr/bin/env bash
# Signed requests, against a second implementation: a tollgate of its own sends them to an upstream that keeps what it gets, and
# botocore signs the same.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.44.8
tools=${CARGO_TARGET_DIR:-target}/botocore

if ! "$tools/bin/python" -c "import botocore, sys; sys.exit(botocore.__version__ != '$version')" 2>/dev/null; then
  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "botocore==$version"
fi
cargo build -q -j2
"$tools/bin/python" tests/sigv4/against_botocore.py "$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")"
echo "sigv4: ok"
