#!/usr/bin/env bash
# Makes docs/screenshots/*.png, which the README shows: the pages in light and dark, narrow and wide, with demo data.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in chromium pngquant; do
  command -v "$tool" >/dev/null || { apt-get update && apt-get install -y --no-install-recommends "$tool"; }
done
export SHOTS=$PWD/docs/screenshots
tests/pages.sh shots
pngquant --force --ext .png --quality 60-90 --strip --speed 1 "$SHOTS"/*.png
