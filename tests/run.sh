#!/usr/bin/env bash
# Runs every test, and installs what is missing for it. Needs Rust and a C compiler; nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "tools"
for tool in curl python3; do
  command -v "$tool" >/dev/null || { apt-get update && apt-get install -y --no-install-recommends "$tool"; }
done

say "unit and integration tests"
if command -v cargo-nextest >/dev/null; then
  cargo nextest run -j2 --no-fail-fast
else
  cargo test -j2 --no-fail-fast
fi

say "provider files"
cargo run -q -j2 -- check providers.d tests/providers

say "the README's quick start"
tests/quickstart.sh

say "every test passed"
