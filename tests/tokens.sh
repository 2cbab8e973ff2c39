#!/usr/bin/env bash
# Made tokens, against other implementations: a tollgate of its own makes them for an upstream and a token endpoint that keep what they
# get. PyJWT and cryptography verify each JWT, and the libraries of vendors make the same requests.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(PyJWT==2.15.1 cryptography==50.0.2 google-auth==2.62.2 msal==1.39.0 ibm-cloud-sdk-core==3.28.0 databricks-sdk==0.162.0 requests==2.34.2)
tools=${CARGO_TARGET_DIR:-target}/tokens

if [ "$(cat "$tools/packages" 2>/dev/null)" != "${packages[*]}" ]; then
  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
  python3 -m venv --clear "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" > "$tools/packages"
fi
cargo build -q -j2
timeout 60 "$tools/bin/python" tests/tokens/against_libraries.py "$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")"
echo "tokens: ok"
