#!/usr/bin/env bash
# Runs every test, and installs what is missing for it. Needs Rust; nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "tools"
missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
for tool in curl git jq python3; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v unshare >/dev/null || missing+=(util-linux)
command -v npm >/dev/null || missing+=(nodejs npm)
command -v chromium >/dev/null || missing+=(chromium)
for tool in nginx caddy openssl; do
  PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || missing+=("$tool")
done
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing+=(prometheus)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"
fi

say "unit and integration tests"
if command -v cargo-nextest >/dev/null; then
  cargo nextest run -j2 --no-fail-fast
else
  cargo test -j2 --no-fail-fast
fi

say "provider files"
cargo run -q -j2 -- check providers.d tests/providers
cargo run -q -j2 -- test providers.d tests/providers
cargo run -q -j2 -- fmt --check providers.d tests/providers

say "the HTTP API, as its OpenAPI document says"
tests/openapi.sh

say "bodies that name a model, as the parsers of Python and Node read them"
python3 tests/judge/parsers.py
node tests/judge/parsers.mjs

say "signed requests, against botocore"
tests/sigv4.sh

say "made tokens, against libraries of vendors"
tests/tokens.sh

say "WebSockets, against Autobahn's cases and real clients"
tests/websocket.sh

say "SDKs and frameworks, at a scripted upstream"
tests/clients.sh libraries

say "the pages, in a browser"
tests/pages.sh

say "metrics, and what Prometheus makes of them"
tests/monitoring.sh

say "what passes byte for byte: the README's table"
tests/fidelity.sh

say "behind nginx and Caddy, as docs/behind-a-proxy.md configures them"
tests/proxies.sh

say "the README's quick start"
tests/quickstart.sh

say "every test passed"
