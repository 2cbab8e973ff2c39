#!/usr/bin/env bash
# Real clients call tollgate at a scripted upstream, in a network namespace with loopback alone: the SDKs and frameworks of
# tests/clients/{requirements,frameworks}.txt and package.json (in Node, and in pages of Chromium), the command lines of
# tools/package.json and aider.txt, and curl. tests/clients/run.py says what is checked. Needs npm, jq and Chromium, as tests/run.sh
# installs them.
# `tests/clients.sh 'openai (Python)'` runs one client, `tests/clients.sh libraries` all but the command lines, which are large;
# UPDATE_EXPECT=1 writes what their users see.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${CARGO_TARGET_DIR:-target}/clients
lists=(tests/clients/requirements.txt tests/clients/frameworks.txt tests/clients/package.json)

if ! unshare --user --map-root-user --net true 2>/dev/null; then
  echo "clients: skipped: the kernel allows no network namespace"
  exit
fi
# The frameworks have a place of their own: they need other versions of the SDKs.
if [ "$(cat "$tools/lists" 2>/dev/null)" != "$(cat "${lists[@]}")" ]; then
  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
  for list in requirements frameworks; do
    python3 -m venv --clear "$tools/$list"
    "$tools/$list/bin/pip" install --quiet --disable-pip-version-check --requirement "tests/clients/$list.txt"
  done
  mkdir -p "$tools/node"
  cp tests/clients/package.json "$tools/node/"
  npm install --prefix "$tools/node" --silent --no-audit --no-fund --ignore-scripts
  cat "${lists[@]}" >"$tools/lists"
fi
if [ "${1:-}" != libraries ] && ! cmp -s tests/clients/tools/package.json "$tools/tools/installed.json"; then
  mkdir -p "$tools/tools"
  # Their scripts put the binaries in place.
  cp tests/clients/tools/package.json "$tools/tools/"
  npm install --prefix "$tools/tools" --silent --no-audit --no-fund
  cp tests/clients/tools/package.json "$tools/tools/installed.json"
fi
if [ "${1:-}" != libraries ] && ! cmp -s tests/clients/aider.txt "$tools/aider/installed.txt"; then
  python3 -m venv --clear "$tools/aider"
  "$tools/aider/bin/pip" install --quiet --disable-pip-version-check --requirement tests/clients/aider.txt
  cp tests/clients/aider.txt "$tools/aider/installed.txt"
fi
cargo build -q -j2
tollgate=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")
export no_proxy=127.0.0.1
timeout 900 unshare --user --map-root-user --net python3 tests/clients/run.py "$tollgate" "$tools" "$@"
echo "clients: ok"
