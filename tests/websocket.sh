#!/usr/bin/env bash
# WebSockets through tollgate: the cases of the Autobahn test suite in both roles, and clients at a fake upstream. The cases are
# Autobahn's own files, run by `kosoku`, since Autobahn's runner needs Python 2. A verdict through tollgate that differs from the one
# without it fails. Needs npm, as tests/run.sh installs it. `tests/websocket.sh '*'` runs the long cases too, in minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${CARGO_TARGET_DIR:-target}/websocket
codex=0.171.0
packages=(kosoku==0.1.0 websockets==15.0.1 'openai[realtime]==3.57.0')

if ! [ "$(cat "$tools/packages" 2>/dev/null)" = "${packages[*]}" ]; then
  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" >"$tools/packages"
fi
if [ ! -x "$tools/$codex/node_modules/.bin/codex" ]; then
  npm install --prefix "$tools/$codex" --silent --no-audit --no-fund "@openai/codex@$codex"
fi
cargo build -q -j2
tollgate=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")
export no_proxy=127.0.0.1
# Without 9, which measures times. Each case of 12 and 13 sends a thousand compressed messages, and there are 216. The peers agree on
# compression through tollgate, which passes their frames as they are, so that a few with small messages are enough.
[ $# -gt 0 ] || set -- '1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' '10.*' 12.1.1 13.1.1 13.4.1
"$tools/bin/python" tests/websocket/conformance.py "$tollgate" "$@"
"$tools/bin/python" tests/websocket/clients.py "$tollgate" providers.d "$tools/$codex/node_modules/.bin/codex"
echo "websocket: ok"
