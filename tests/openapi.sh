#!/usr/bin/env bash
# Calls a tollgate of its own as schema/openapi.json says, with what fits and with what does not: no 5xx, and no answer
# that is not documented. Made for it alone: it makes and removes users, rotates tokens, and empties credentials.
set -euo pipefail
cd "$(dirname "$0")/.."
version=4.32.5
tools=${CARGO_TARGET_DIR:-target}/schemathesis

if ! "$tools/bin/schemathesis" --version 2>/dev/null | grep -qF "$version"; then
  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi
cargo build -q -j2
tollgate=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate") schema=$(realpath schema/openapi.json)
schemathesis=$(realpath "$tools/bin/schemathesis")

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
export TOLLGATE_DATA=$work/data TOLLGATE_PROVIDERS=$PWD/providers.d no_proxy=127.0.0.1
cd "$work"
as_new() { as "$("$tollgate" user add "$1" 2>/dev/null)"; }
touch log
"$tollgate" serve --listen 127.0.0.1:0 --workers 1 --access-log false --trusted-proxies 127.0.0.1 >out 2>log &
for _ in $(seq 100); do
  url=$(sed -n 's/.*"message":"listening","address":"\([^"]*\)".*/http:\/\/\1/p' log)
  [ -z "$url" ] || break
  read -rt 0.1 <> <(:) || true
done
[ -n "$url" ] || { cat log >&2; exit 1; }

as() {
  cat >schemathesis.toml <<END
[auth.openapi.adminToken]
bearer = "$(cat data/admin-token)"
[auth.openapi.userToken]
bearer = "$1"
END
}
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,negative_data_rejection,ignored_auth,use_after_free
# Wrong tokens, such as that of a caller who was removed on the way, are answered ever more slowly by where they come from.
cat >hooks.py <<END
import itertools, schemathesis
addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1))

@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers = {**(case.headers or {}), "X-Forwarded-For": next(addresses)}
END
run() {
  SCHEMATHESIS_HOOKS=hooks PYTHONPATH=. "$schemathesis" --config-file schemathesis.toml run "$schema" --url "$url" \
    --checks "$checks" --seed 1 --generation-database none --no-color --warnings off --request-timeout 20 "$@" ||
    { tail -50 log >&2; exit 1; }
}
# A token that was replaced may hardly do anything: rotation comes last, of another user, since the first may be gone.
as_new caller
# A stream of events has no end, and is read below.
run --max-examples 40 --exclude-path /auth/rotate --exclude-path /admin/events
as_new rotator
run --max-examples 10 --include-path /auth/rotate

# It got somewhere, and all is well after that.
for action in user.create token.create token.rotate admin_token.create; do
  grep -q "\"action\":\"$action\"" log || { echo "no call made a \`$action\`" >&2; exit 1; }
done
curl -fsS "$url/health"
events=$(timeout 5 curl -sSN -H "Authorization: Bearer $(cat data/admin-token)" "$url/admin/events" || [ $? = 124 ])
for event in status overview; do
  grep -q "^event: $event\$" <<<"$events" || { echo "the stream has no \`$event\`: $events" >&2; exit 1; }
done
"$tollgate" audit verify
echo "openapi: ok"
