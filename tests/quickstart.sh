#!/usr/bin/env bash
# Runs the README's quick start as it stands there, in a directory of its own, and looks at what comes back.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; pkill -P $$ 2>/dev/null || true; rm -rf "$work"' EXIT
script=$(awk '/quick start: run by/ {on=1; next} on && /^```sh/ {code=1; next} on && /^```/ {exit} code' "$root/README.md")
[ -n "$script" ] || { echo "the README has no quick start" >&2; exit 1; }
cd "$work"
ln -s "$root"/{Cargo.toml,Cargo.lock,src,providers.d,benches,tests,rustfmt.toml,clippy.toml} .
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
script=${script//'$PWD/target'/"$CARGO_TARGET_DIR"}
answer=$(eval "$script" 2>"$work/log") || { cat "$work/log" >&2; exit 1; }
case $answer in
  *'data: [DONE]'*) echo "quick start: ok" ;;
  *) echo "the quick start did not end in \`data: [DONE]\`:" >&2; echo "$answer" >&2; cat "$work/log" >&2; exit 1 ;;
esac
