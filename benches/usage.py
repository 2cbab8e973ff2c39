#!/usr/bin/env python3
"""Measures the usage ledger: the size of a store with a million exchanges of 200 users in 30 days, by table, and the time of
`tollgate usage` on it. The rows are written in the store's own form, spread as by people at work: a server would need 30
days. Requires a release build and python3; `--binary` names another one:

    cargo build --release && benches/usage.py
"""

import argparse
import random
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DAYS = 30
DETAIL_DAYS = 7
USERS = 200
MODELS = ["small-1", "small-2", "large-1", "large-2", "embed-1"]
COLUMNS = [
    "requests", "refused", "gateway_error", "upstream_failed", "upstream_limited", "upstream_rejected", "upstream_error",
    "cut", "client_left", "input", "output", "cache_read", "cache_write", "reasoning", "audio_input", "audio_output",
    "images", "characters", "seconds", "units", "estimated_prompt", "estimated_answer", "not_counted", "prompt_bytes",
    "answer_bytes", "prompt_text_tokens", "answer_text_tokens",
]
INPUT, OUTPUT, CACHED, LIMITED = (COLUMNS.index(name) for name in ["input", "output", "cache_read", "upstream_limited"])
BYTES = (COLUMNS.index("prompt_bytes"), COLUMNS.index("answer_bytes"))
TEXT_TOKENS = (COLUMNS.index("prompt_text_tokens"), COLUMNS.index("answer_text_tokens"))


def exchanges(number, end_hour, rng):
    """Exchanges as (end in ms, key, values): by day, most of them from 8 to 18 o'clock, some users far more than others."""
    weights = [1 / (rank + 1) ** 0.7 for rank in range(USERS)]
    hours = [1 if 8 <= hour <= 18 else 0.1 for hour in range(24)]
    users = rng.choices(range(USERS), weights, k=number)
    of_day = rng.choices(range(24), hours, k=number)
    for user, hour in zip(users, of_day):
        day = rng.randrange(DAYS)
        at = (end_hour - 24 * (day + 1) + hour) * 3_600_000 + rng.randrange(3_600_000)
        model = (user + rng.choices([0, 1, 2], [8, 2, 1])[0]) % len(MODELS)
        values = [0] * len(COLUMNS)
        values[0] = 1
        if rng.random() < 0.02:
            values[LIMITED] = 1
        else:
            values[INPUT], values[CACHED], values[OUTPUT] = rng.randrange(4000), rng.randrange(20_000), rng.randrange(1500)
            values[BYTES[0]], values[BYTES[1]] = 4 * values[INPUT], 4 * values[OUTPUT]
            values[TEXT_TOKENS[0]], values[TEXT_TOKENS[1]] = values[INPUT], values[OUTPUT]
        yield at, user * len(MODELS) + model, values


def add(sums, at, values):
    for index, value in enumerate(values):
        if value:
            sums[at][index] += value


def insert(store, table, names, rows):
    marks = ", ".join("?" * len(names))
    store.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)
    store.commit()


def fill(path, number, seed):
    """Fills the store. Returns the bytes of each part, and its rows."""
    rng, store = random.Random(seed), sqlite3.connect(path)
    insert(store, "users", ["id", "name", "created_at"], ((f"usr_{number:016x}", f"user {number}", 2**42 + number) for number in range(1, USERS)))
    users = [row[0] for row in store.execute("SELECT id FROM users ORDER BY created_at, id")]
    end_hour = int(time.time()) // 86_400 * 24
    hours, days = defaultdict(lambda: [0] * len(COLUMNS)), defaultdict(lambda: [0] * len(COLUMNS))
    single = []
    for at, key, values in exchanges(number, end_hour, rng):
        add(hours, (at // 3_600_000, key), values)
        add(days, (at // 86_400_000, key), values)
        if at >= (end_hour - 24 * DETAIL_DAYS) * 3_600_000:
            single.append((at, key, values))
    single.sort()
    keys = [
        (key, users[key // len(MODELS)], f"tok_{key // len(MODELS):016x}", "research", "demo", "chat",
         MODELS[key % len(MODELS)], 0, "everybody", end_hour // 24)
        for key in range(USERS * len(MODELS))
    ]
    names = ["id", "user_id", "token_id", "group_name", "provider", "endpoint", "model", "context", "key_owner", "last_day"]
    counters = COLUMNS[9:22]
    exchange = ["seq", "ended_at", "duration", "first_byte", "key", "request_id", "status", "outcome"] + counters
    rows = (
        [seq, at, 900 + seq % 4000, 200 + seq % 700, key, f"req_{rng.getrandbits(64):016x}_{seq}", 429 if values[LIMITED] else 200,
         "upstream_limited" if values[LIMITED] else "success"] + values[9:22]
        for seq, (at, key, values) in enumerate(single, 1)
    )
    parts = [
        ("keys", "usage_keys", names, keys),
        ("hours", "usage_hours", ["hour", "key"] + COLUMNS, ([*at, *values] for at, values in sorted(hours.items()))),
        ("days", "usage_days", ["day", "key"] + COLUMNS, ([*at, *values] for at, values in sorted(days.items()))),
        ("exchanges", "exchanges", exchange, rows),
    ]
    sizes = {}
    for part, table, names, rows in parts:
        before = size(store)
        insert(store, table, names, rows)
        count = store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        sizes[part] = (size(store) - before, count)
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return sizes


def size(store):
    return store.execute("PRAGMA page_count").fetchone()[0] * store.execute("PRAGMA page_size").fetchone()[0]


def timed(binary, data, args, times):
    def once():
        start = time.monotonic()
        out = subprocess.run([binary, "--data", data, "usage", *args], check=True, capture_output=True).stdout
        return (time.monotonic() - start) * 1000, out

    runs = [once() for _ in range(times)]
    shown = [ms for ms, _ in runs]
    print(f"usage {' '.join(args):52} median {statistics.median(shown):7.0f} ms, best {min(shown):6.0f} ms, {len(runs[0][1].splitlines())} lines")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/tollgate"))
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--server", action="store_true", help="ask a running server instead of opening the store")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        data = str(Path(work) / "data")
        subprocess.run([args.binary, "--data", data, "user", "add", "user 0"], check=True, capture_output=True)
        for part, (size, rows) in fill(Path(data) / "tollgate.db", args.exchanges, 1).items():
            print(f"{part:10} {rows:9,} rows  {size / 1e6:7.1f} MB  {size / max(rows, 1):6.0f} B a row")
        server = None
        if args.server:
            server = subprocess.Popen([args.binary, "--data", data, "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            while not (Path(data) / "control.sock").exists():
                time.sleep(0.05)
        try:
            for asked in [
                ["--by", "user,model", "--since", "30d"],
                ["--by", "user,model", "--since", "30d", "--top", "10"],
                ["--by", "model", "--since", "30d", "--every", "day"],
                ["--by", "model", "--since", "30d", "--every", "day", "--tz", "Europe/Berlin"],
                ["--by", "user", "--since", "7d"],
                ["--by", "user,model", "--since", "30d", "--user", "user 7"],
                ["--recent", "20"],
                ["--recent", "20", "--user", "user 199"],
            ]:
                timed(args.binary, data, asked, args.times)
        finally:
            if server:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
