#!/usr/bin/env bash
# The configurations of docs/behind-a-proxy.md, in a real nginx and a real Caddy in front of a running tollgate: streams, uploads, slow
# answers, client addresses, WebSockets, errors. Everything is on loopback, on free ports. tests/run.sh installs both.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin
cargo build -q -j2
timeout 120 python3 tests/proxies/check.py "$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")" docs/behind-a-proxy.md
