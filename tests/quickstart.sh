#!/usr/bin/env bash
# Runs the README's quick start as it stands there, three times in one directory, and looks at what comes back.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

script=$(awk '/quick start: run by/ {on=1; next} on && /^```sh/ {code=1; next} on && code && /^```/ {exit} code' "$root/README.md")
[ -n "$script" ] || { echo "the README has no quick start" >&2; exit 1; }

# The build runs where the sources are, all else where nothing is; the default ports may be taken here.
(cd "$root" && cargo build --release -j2)
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
serve=$(port) mock=$(port)
script=$(grep -v '^cargo build' <<<"$script")
script=${script//8787/$serve}
script=${script//8788/$mock}
script=${script//tollgate mock/tollgate mock --listen 127.0.0.1:$mock}
script=${script//\$PWD\/target/${CARGO_TARGET_DIR:-$root/target}}
export TOLLGATE_LISTEN=127.0.0.1:$serve

cd "$work"
# Again with all of it running, and again after a restart.
for round in first again restarted; do
  [ "$round" != restarted ] || { kill $(jobs -p) 2>/dev/null || true; wait; }
  eval "$script" >answer 2>log || { cat log >&2; exit 1; }
  grep -q '^data: \[DONE\]' answer || { echo "$round: the answer does not end in \`data: [DONE]\`:" >&2; cat answer log >&2; exit 1; }
done
echo "quick start: ok"
