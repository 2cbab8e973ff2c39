#!/usr/bin/env bash
# Uses the pages of a real tollgate with a real browser and a fake upstream: tests/pages/*.mjs. Needs Chromium and npm, as
# tests/run.sh installs them.
set -euo pipefail
cd "$(dirname "$0")/.."
playwright=1.65.1 axe=4.14.1
tools=${CARGO_TARGET_DIR:-target}/pages/$playwright-$axe

if [ ! -d "$tools/node_modules/axe-core" ] || [ ! -d "$tools/node_modules/playwright-core" ]; then
  mkdir -p "$tools"
  npm install --prefix "$tools" --silent --no-audit --no-fund --ignore-scripts "playwright-core@$playwright" "axe-core@$axe"
fi
cargo build -q -j2
export TOLLGATE_BINARY PAGES_TOOLS CHROMIUM
TOLLGATE_BINARY=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate") PAGES_TOOLS=$(realpath "$tools") CHROMIUM=$(command -v chromium)
if [ $# -gt 0 ]; then
  node --test-reporter=spec --import ./tests/pages/end.mjs "tests/pages/$1.mjs"
else
  # Each has a browser and an upstream of its own.
  node --test-reporter=spec tests/pages/users.mjs &
  users=$!
  node --test-reporter=spec tests/pages/operators.mjs || { wait "$users"; exit 1; }
  wait "$users"
fi
echo "pages: ok"
