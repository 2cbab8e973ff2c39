#!/usr/bin/env python3
"""Python's `json` sees the model that the judge sees, for every body of corpus.json that is judged.

Bodies that the judge refuses are not compared: upstreams never get them.
"""

import base64
import json
import pathlib
import sys


def body_of(entry):
    if "base64" in entry:
        return base64.b64decode(entry["base64"])
    return entry["body"].encode()


def model_of(body):
    if not body:
        return None
    document = json.loads(body)
    return None if document is None else document.get("model")


def main():
    corpus = json.loads(pathlib.Path(__file__).with_name("corpus.json").read_text())
    judged = [entry for entry in corpus if "refused" not in entry]
    for entry in judged:
        try:
            seen = model_of(body_of(entry))
        except (ValueError, RecursionError, AttributeError) as error:
            print(f"python: {entry['name']}: judged, but not read: {error}")
            return 1
        if seen != entry["model"]:
            print(f"python: {entry['name']}: the judge sees {entry['model']!r}, the parser {seen!r}")
            return 1
    print(f"python: {len(judged)} of {len(corpus)} bodies are judged, and read as the judge does")
    return 0 if judged else 1


sys.exit(main())
