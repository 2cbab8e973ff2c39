#!/usr/bin/env bash
# Prometheus scrapes a tollgate that runs. Its queries return the numbers of the requests that were made, and every expression in
# docs/monitoring succeeds. promtool checks the metrics and the alert rules. Everything is on loopback, on free ports.
#
# With PICTURE=FILE and a Python that has matplotlib (PYTHON), requests go on for two minutes, and the dashboard is drawn from
# the series: docs/monitoring/dashboard.png is made like this.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD

promtool check rules docs/monitoring/alerts.yml
promtool test rules tests/monitoring/alerts.test.yml

cargo build -q -j2
tollgate=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tollgate")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"
export TOLLGATE_DATA=$work/data TOLLGATE_PROVIDERS=$work/providers.d no_proxy=127.0.0.1
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mock=$(port) serve=$(port) prometheus=$(port)
pause() { read -rt "$1" <> <(:) || true; }
# Waits until a command succeeds, for at most 60 s.
until_done() {
  for _ in $(seq 300); do ! "$@" >/dev/null 2>&1 || return 0; pause 0.2; done
  echo "not within 60 s: $*" >&2
  tail -n 20 ./*.log >&2
  exit 1
}

mkdir -p providers.d/prices limits.d
cat >limits.d/all.toml <<END
[[limit]]
id       = "day"
per      = "all"
requests = 1000
window   = { every = "day" }
END
for name in one two; do
  cat >providers.d/$name.toml <<END
title    = "Provider $name"
extends  = "openai-compatible"
base_url = "http://127.0.0.1:$mock"
[endpoint.speech]
method = "POST"
path   = "/v1/audio/speech"
api    = "speech"
END
done
# The models of the other provider have no price.
cat >providers.d/prices/one.toml <<END
title    = "Provider one"
currency = "USD"
[[price]]
model      = ["large"]
input      = 2
output     = 8
cache_read = 0.5
END
# The mock refuses what is exported: it answers 404.
cat >tollgate.toml <<END
[exporter.main]
kind = "otlp"
endpoint = "http://127.0.0.1:$mock"
signals = ["logs"]
END
"$tollgate" mock --listen "127.0.0.1:$mock" --interval 5ms >mock.log 2>&1 &
"$tollgate" serve --listen "127.0.0.1:$serve" --workers 2 --metrics-users true 2>serve.log >/dev/null &
until_done curl -sf "http://127.0.0.1:$serve/readyz"
until_done curl -s "http://127.0.0.1:$mock/"
token=$("$tollgate" user add ada)
for name in one two; do echo "made-up" | "$tollgate" credential set ada "providers.$name.apiKey"; done

# A request to a path below the providers', with a body and further arguments to curl. Prints the status.
post() {
  curl -s -o answer -w '%{http_code}\n' "http://127.0.0.1:$serve/proxy/$1" -H "authorization: Bearer $token" \
    -H 'content-type: application/json' -d "$2" "${@:3}"
}
# A chat completion of a provider.
call() {
  post "$1/v1/chat/completions" "{\"model\":\"large\",\"stream\":${stream:-false},\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}" "${@:2}"
}
# Text that is read aloud: the vendor counts its characters.
speak() { post "$1/v1/audio/speech" '{"model":"voice","input":"hello"}' -H 'x-mock-echo: true'; }
# An answer in another format is not counted.
uncounted() { call "$1" -H 'x-mock-header: content-type=text/html'; }
until_done sh -c "curl -sf http://127.0.0.1:$serve/auth/me -H 'authorization: Bearer $token'"
statuses=$(
  for _ in 1 2 3 4 5 6 7; do call one; done
  for _ in 1 2 3; do stream=true call two; done
  speak two
  uncounted two
  for _ in 1 2; do call two -H 'x-mock-status: 429'; done
  call two -H 'x-mock-status: 500'
  call two -H 'x-mock-cut: head'
  curl -s -o answer -w '%{http_code}\n' "http://127.0.0.1:$serve/wp-login.php"
)
[ "$(sort <<<"$statuses" | uniq -c | xargs)" = "12 200 1 401 2 429 1 500 1 502" ] || { echo "the answers: $statuses" >&2; exit 1; }

# Before the first scrape: what is given up later fires an alert.
gave_up() { curl -sf "http://127.0.0.1:$serve/metrics" | grep -q '^tollgate_exporter_entries_total.*"given_up"} 16$'; }
until_done gave_up

cat >prometheus.yml <<END
global: { scrape_interval: 1s, evaluation_interval: 5s }
rule_files: [$repository/docs/monitoring/alerts.yml]
scrape_configs:
  - job_name: tollgate
    static_configs: [{ targets: ["127.0.0.1:$serve"] }]
END
promtool check config --lint=none prometheus.yml >/dev/null
prometheus --config.file=prometheus.yml --storage.tsdb.path=tsdb --web.listen-address="127.0.0.1:$prometheus" --log.level=warn 2>prometheus.log &
query() {
  curl -sfG "http://127.0.0.1:$prometheus/api/v1/query" --data-urlencode "query=$1" | jq -r '[.data.result[].value[1]] | join(" ")'
}
# Waits until a query returns a number.
expect() {
  is() { [ "$(query "$1")" = "$2" ]; }
  until_done is "$1" "$2"
}
expect 'up{job="tollgate"}' 1
expect 'sum(tollgate_requests_total{provider="one",status="2xx",outcome="success"})' 7
expect 'sum(tollgate_requests_total{provider="two",status="2xx",outcome="success"})' 5
expect 'sum(tollgate_requests_total{provider="two",status="4xx",outcome="upstream_limited"})' 2
expect 'sum by (reason) (tollgate_upstream_failures_total{provider="two",reason="upstream_error"})' 1
expect 'tollgate_upstream_failures_total{provider="two",reason="upstream_reset"}' 1
expect 'sum(tollgate_faults_total{provider="",code="missing_token",blame="client"})' 1
expect 'sum(tollgate_request_duration_seconds_count{provider="one"})' 7
expect 'sum(tollgate_request_duration_seconds_bucket{provider="two",le="+Inf"})' 9
expect 'sum(tollgate_time_to_first_byte_seconds_count{provider="one"})' 7
expect 'sum by (kind) (tollgate_tokens_total{provider="one",model="large",kind="input",estimated="false"})' 119
expect 'sum(tollgate_tokens_total{provider="one",kind="cache_read"})' 56
expect 'sum(tollgate_tokens_total{provider="one",kind="output"})' 56
expect 'sum(tollgate_tokens_total{provider="one",estimated="true"}) or vector(0)' 0
expect 'round(1e6 * sum(tollgate_cost_total{provider="one",currency="USD"}))' 714
expect 'sum(tollgate_tokens_total{provider="two",estimated="true"}) > bool 0' 1
expect 'sum(tollgate_tokens_total{provider="two",estimated="false"}) or vector(0)' 0
expect 'sum(tollgate_tokens_without_price_total) == bool sum(tollgate_tokens_total{provider="two"})' 1
expect 'tollgate_usage_units_total{provider="two",unit="characters"}' 5
expect 'tollgate_usage_not_counted_total{provider="two",reason="content_type"}' 1
expect 'sum(tollgate_user_requests_total)' 16
expect 'tollgate_limit_requests_total{limit="day",outcome="admitted"} > bool 10' 1
expect 'tollgate_limit_used_ratio{limit="day"} > bool 0' 1
expect 'sum(tollgate_upstream_connections_total)' 16
expect 'tollgate_exporter_entries_total{exporter="main",signal="logs",result="given_up"}' 16
expect 'sum(tollgate_exporter_entries_total{result!="given_up"})' 0
# A rate needs two scrapes.
expect 'count(rate(tollgate_requests_total[1m])) > bool 0' 1
expect 'tollgate_config_files{state="live"}' 4
expect 'tollgate_config_last_reload_successful' 1
expect 'tollgate_usage_pending_requests' 0
expect 'time() - process_start_time_seconds < bool 600' 1
expect 'time() - tollgate_store_last_success_timestamp_seconds < bool 10' 1

# Both formats: promtool reads that of Prometheus, and Prometheus scrapes OpenMetrics.
curl -sf "http://127.0.0.1:$serve/metrics" >metrics
promtool check metrics <metrics
curl -sf -H 'accept: application/openmetrics-text; version=1.0.0' "http://127.0.0.1:$serve/metrics" | tail -1 | grep -qx '# EOF'
! grep -F "$token" metrics

if [ -n "${PICTURE:-}" ]; then
  end=$((SECONDS + 130))
  while [ $SECONDS -lt $end ]; do
    call one >/dev/null
    stream=true call two -H "x-mock-delay: $((RANDOM % 80))ms" >/dev/null
    case $((RANDOM % 14)) in
      0) call two -H 'x-mock-status: 429' ;;
      1) call one -H 'x-mock-status: 500' ;;
      2) curl -s "http://127.0.0.1:$serve/scan-$RANDOM" ;;
      3) curl -s -m 0.02 "http://127.0.0.1:$serve/proxy/one/v1/chat/completions" -H "authorization: Bearer $token" -H 'x-mock-delay: 1s' -d '{}' || true ;;
      4) speak two ;;
      5) uncounted two ;;
    esac >/dev/null
  done
  "${PYTHON:-python3}" "$repository/tests/monitoring/draw.py" "http://127.0.0.1:$prometheus" "$repository/$PICTURE"
  exit
fi
python3 "$repository/tests/monitoring/check.py" metrics "http://127.0.0.1:$prometheus"
