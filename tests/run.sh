#!/usr/bin/env bash
# Runs every test: the library's own, the integration suite, and those that provider files bring along. Needs
# Rust; installs what else it needs. The last line says how it went.
set -euo pipefail
cd "$(dirname "$0")/.."
trap 'echo "tests: FAILED (see above)"' ERR

if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust 1.95 or later, https://rustup.rs" >&2
  false
fi
# SQLite and the TLS library are compiled from C.
if ! command -v cc >/dev/null; then
  sudo=$(command -v sudo || true)
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq build-essential
fi

if command -v cargo-nextest >/dev/null; then
  cargo nextest run -j2 --all-targets --no-fail-fast
else
  # Each test there is a process of its own; threads of one process do as well, only slower and less apart.
  cargo test -j2 --all-targets --no-fail-fast -- --test-threads=2
fi

cargo build -j2 --quiet
tollgate=${CARGO_TARGET_DIR:-target}/debug/tollgate
for directory in providers.d tests/providers; do
  if [ -d "$directory" ]; then
    "$tollgate" check "$directory"
  fi
done

echo "tests: all passed"
