#!/usr/bin/env bash
# Regenerates every generated file: schemas, the OpenAPI document, docs/diagnostics.md, docs/decisions.md, docs/catalogue.md, the table of metrics, the README's
# table of what passes byte for byte, snapshots. Look at `git diff` afterwards: a snapshot is right only if a person says so.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run -q -j2 -- schema --out schema
UPDATE_EXPECT=1 cargo test -q -j2 --test house -- diagnostics metrics catalogue
UPDATE_EXPECT=1 cargo test -q -j2 --test it -- broken raw decision_table::the_document
UPDATE_EXPECT=1 tests/fidelity.sh
git status --short schema docs tests README.md
