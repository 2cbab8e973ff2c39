#!/usr/bin/env python3
"""Measures the commands on provider files that are made to be slow to judge, each just below the limit of a file's size: CPU time of each
command, and the longest of all. Requires a release build:

    cargo build --release && benches/heavy.py
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from start import ROOT

HEAD = 'title = "X"\nbase_url = "https://x.example"\npath_prefix = "/p"\n'
ONE = '[endpoint.one]\nmethod = "GET"\npath = "/one"\n'
TEST = '[[test]]\nname = "t{}"\nrequest = {{ path = "/p/one" }}\nexpect = {{ status = 200 }}\n'
POLICY = """[[credentials]]
name = "k"
origins = ["https://api.acme.example"]
[[endpoints]]
name = "n"
methods = ["GET", "POST"]
paths = ["/proxy/*"]
[[tests]]
name = "t"
refusals = ["credential_missing", "route_not_found"]
[[https]]
name = "h"
[[headers]]
name = "hh"
never = ["x-forwarded-*", "forwarded", "cf-*"]
"""


def endpoints(count, path):
    return "".join(f'[endpoint.e{n}]\nmethod = "GET"\npath = "{path(n)}"\n' for n in range(count))


def many(count, line):
    return "".join(line(n) for n in range(count))


def files():
    """The inputs: a name, and the text of one file or a dictionary of texts."""
    yield "12,000 endpoints with captures", HEAD + endpoints(12_000, lambda n: f"/v1/e{n}/{{a}}/{{b}}")
    yield "2,000 endpoints with captures", HEAD + endpoints(2_000, lambda n: f"/v1/e{n}/{{a}}/{{b}}/{{c}}/{{d}}")
    yield "2,000 captures within segments", HEAD + endpoints(2_000, lambda n: f"/e{n}x{{a}}")
    yield "70,000 globs", HEAD + "headers.remove = [" + many(70_000, lambda n: f'"x*{n}*",') + "]\n" + ONE
    yield "a glob of 500,000 stars", HEAD + 'headers.remove = ["' + "*a" * 500_000 + '"]\n' + ONE
    yield "64 globs, 2,000 endpoints", HEAD + "headers.remove = [" + many(64, lambda n: f'"*a*b*c*d*e*f*g*{n}",') + "]\n" + endpoints(2_000, lambda n: f"/e{n}")
    yield "9,000 tests", HEAD + ONE + many(9_000, TEST.format)
    yield "2,000 tests", HEAD + ONE + many(2_000, TEST.format)
    yield "a key of 400,000 parts", HEAD + ".".join(["a"] * 400_000) + " = 1\n" + ONE
    yield "7,000 keys of 61 parts", HEAD + many(7_000, lambda n: f"a{n}." + ".".join(["a"] * 60) + "=1\n") + ONE
    yield "7,000 tables of 61 parts", HEAD + many(7_000, lambda n: "[" + ".".join(["a"] * 60) + f".k{n}]\n") + ONE
    yield "100,000 duplicate tables", HEAD + "[vars]\n" * 100_000 + ONE
    yield "90,000 duplicate keys", HEAD + 'title="x"\n' * 90_000 + ONE
    yield "35,000 vars", HEAD + "[vars]\n" + many(35_000, lambda n: f'v{n} = {{ env = "V{n}" }}\n') + ONE
    yield "40,000 likely keys", HEAD + "# " + "sk-abcdefghij0123456789 " * 40_000 + "\n" + ONE
    yield "a word of 1,000,000 letters", HEAD + "# " + "a" * 1_000_000 + "\n" + ONE
    yield "70,000 header rules", HEAD + "[headers.set]\n" + many(60_000, lambda n: f'x-{n} = "v"\n') + ONE
    yield "40,000 gateways", HEAD + many(40_000, lambda n: f"gateway.g{n} = {{}}\n") + ONE
    yield "15,000 egresses", HEAD + '[[egress]]\nurl = "https://e.example/{url|urlencode}"\n' * 15_000 + ONE
    yield "15,000 response rules", HEAD + '[[response]]\nwhen = { status = 400 }\nreply = { status = 500, message = "m" }\n' * 12_000 + ONE
    yield "a string of 1,000,000 letters", HEAD + 'docs = "' + "x" * 1_000_000 + '"\n' + ONE
    yield "500,000 wrong escapes", HEAD + 'docs = "' + "\\q" * 500_000 + '"\n' + ONE
    yield "200,000 nested tables", HEAD + "vars = " + "{a=" * 200_000 + "1" + "}" * 200_000 + "\n" + ONE
    yield "6,000 nested arrays", HEAD + "vars = [" + ("[" * 70 + "]" * 70 + ",") * 6_000 + "]\n" + ONE
    yield "100,000 unknown keys", HEAD + many(100_000, lambda n: f"k{n}=1\n") + ONE
    yield "4,000 long unknown keys", HEAD + many(4_000, lambda n: f"base_url{'l' * 200}{n}=1\n") + ONE
    yield "a key of 980,000 letters", HEAD + "base_ur" * 140_000 + "=1\n" + ONE
    yield "25,000 errors on one line", HEAD + "endpoint = {" + many(25_000, lambda n: f'e{n}={{metod="GET",pth="/e"}},') + "}\n"
    yield "200,000 syntax errors", HEAD + "= =\n" * 200_000 + ONE
    yield "16,000 aliases", HEAD + endpoints(2_000, lambda n: f'/e{n}x{{a}}"\naliases = [' + many(8, lambda m: f'"/p/a{n}_{m}x{{a}}",') + f']\nupstream_path = "/{{a}}')
    yield "100,000 comments in an array", HEAD + "headers.remove = [\n" + '"x", # c\n' * 100_000 + "]\n" + ONE
    yield "1,000,000 empty lines", HEAD + "\n" * 1_000_000 + ONE
    yield "200 files of 400 endpoints", {f"f{at:03}.toml": HEAD.replace("/p", f"/p{at}") + endpoints(400, lambda n: f"/v1/e{n}/{{a}}") for at in range(200)}
    yield "200 files of 2,000 errors", {f"f{at:03}.toml": HEAD + many(2_000, lambda n: f"k{n}=1\n") for at in range(200)}
    yield "2,000 files", {f"f{at:04}.toml": HEAD.replace("/p", f"/p{at}") + ONE for at in range(2_000)}


COMMANDS = {
    "check": ["check", "d"],
    "json": ["check", "--format", "json", "d"],
    "test": ["test", "d"],
    "explain": ["--providers", "d", "explain", "GET", "/proxy/p/one"],
    "routes": ["--providers", "d", "routes"],
    "fmt": ["fmt", "--check", "d"],
    "prove": ["prove", "--policy", "rules.toml", "d"],
    "diff": ["diff", "base", "d"],
}


def seconds(binary, arguments, directory):
    """Returns the CPU time. Fails if the command did not end by itself."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([binary, *arguments], cwd=directory, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 2, 3, 4):
        raise SystemExit(f"{arguments} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "tollgate", type=Path)
    parser.add_argument("--only", default="", help="inputs whose name contains this")
    args = parser.parse_args()
    print(f"| input | KiB | {' | '.join(COMMANDS)} |\n|---|---|{'---|' * len(COMMANDS)}")
    longest = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "base").mkdir()
        (directory / "base" / "p.toml").write_text(HEAD + ONE)
        (directory / "rules.toml").write_text(POLICY)
        for what, texts in files():
            if args.only not in what:
                continue
            texts = texts if isinstance(texts, dict) else {"p.toml": texts}
            (directory / "d").mkdir()
            for file, text in texts.items():
                (directory / "d" / file).write_text(text)
            times = [seconds(args.binary.resolve(), command, directory) for command in COMMANDS.values()]
            longest = max(longest, *times)
            size = sum(len(text.encode()) for text in texts.values()) // 1024
            print(f"| {what} | {size:,} | {' | '.join(f'{time:.2f}' for time in times)} |", flush=True)
            shutil.rmtree(directory / "d")
    print(f"\nthe longest: {longest:.2f} s")


if __name__ == "__main__":
    main()
