#!/usr/bin/env bash
# Creates the first inputs: all shipped files, and heads and patterns that match.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/explain corpus/files corpus/fmt corpus/head corpus/meter corpus/table
for file in ../providers.d/*.toml ../providers.d/*/*.toml; do
    path=$(sed -n 's/^path_prefix *= *"\(.*\)"/\1/p' "$file" | sed 's/{provider}/fuzzed/')
    { printf 'POST %s/v1/chat/completions?a=1\nauthorization: Bearer t\ncf-ray: 1\n\n' "${path:-/proxy/fuzzed}"; cat "$file"; } \
        >"corpus/explain/$(basename "$(dirname "$file")")-$(basename "$file")"
    cp "$file" "corpus/files/$(basename "$(dirname "$file")")-$(basename "$file")"
    cp "$file" "corpus/fmt/$(basename "$(dirname "$file")")-$(basename "$file")"
done
n=0
while IFS= read -r line; do
    printf '%b' "$line" >"corpus/head/seed-$((n += 1))"
done <<'HEADS'
0POST /proxy/groq/v1/chat/completions?a=b\nhost: x\ncontent-type: application/json\nte: trailers\nconnection: close, x-a\nx-a: 1\n
1GET /proxy/groq/v1/models\ncookie: a\ncf-ray: 1\nexpect: 100-continue\n
2POST /proxy/captures/v1beta/models/gemini-2.5:generateContent?alt=x&drop=1&key=k\norigin: o\nx-forwarded-for: 1\n
3GET /proxy/captures/v1/kind/xidy?%61lt=1;key=2\nx-stainless-os: a\nupgrade: websocket\n
4GET /proxy/captures/files/n/a/b%20c/.d?&&=\ntransfer-encoding: chunked\nset-cookie: a\n
5POST /w/a%3Fb/c?x=1&y=%26\nkeep-alive: 1\nx-real-ip: 1\nauthorization: Basic x\n
HEADS
printf '%b' '0/a/{b}/c\n0/a/{b}x/c\n1/a/x/{d...}\n0/{m}:go/{n}\n0=/a/bx/c\n0=/a/b/c\n1=/a/x/1/2\n0=/z:go/1\n' >corpus/table/seed-1
printf '%b' '0/v1/{m}:go\n0/v1/models\n0/v1/{m}\n0=/v1/a:go\n0=/v1/:go\n0=/v1/models\n0=/v1/\n' >corpus/table/seed-2
event='{"model":"m","id":"i","choices":[{"text":"a\\n\\u00e9","finish":"stop"}],"data":[{"text":"b"}],"usage":{"input":9,"cached":2,"more":1,"output":3,"seconds":1.5}}'
printf '01data: %s\r\n\r\ndata:{"choices":[],"usage":{"output":4}}\n\ndata: [DONE]\n\n' "$event" >corpus/meter/sse
printf '51%s\n%s' "$event" "$event" >corpus/meter/lines
printf '21[%s,\n%s]' "$event" "$event" >corpus/meter/array
printf '21%s' "$event" >corpus/meter/body
printf '31\000\000\000\040\000\000\000\003crc1\001a\000{"model":"m"}crc2' >corpus/meter/aws
part='--b\r\nContent-Disposition: form-data; name='
printf "81${part}model\\r\\n\\r\\nm\\r\\n${part}\"choices\"; filename=\"a\"\\r\\n\\r\\n\\r\\n--b-\\r\\n${part}error\\r\\n\\r\\ntrue\\r\\n--b--" >corpus/meter/form
