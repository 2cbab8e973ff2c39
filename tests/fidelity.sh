#!/usr/bin/env bash
# The README's table of what passes byte for byte, made by raw sockets on both sides of a running tollgate. Fails if bytes differ, or
# if the table is stale: UPDATE_EXPECT=1 writes it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q -j2
timeout 120 python3 tests/fidelity.py "$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")" providers.d README.md
