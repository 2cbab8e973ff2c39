"""Checks the files in docs/monitoring against a tollgate that runs and a Prometheus that scrapes it.

    check.py METRICS PROMETHEUS_URL

METRICS is the text that tollgate returned. Each expression of the dashboard and of the alert rules, which Prometheus has loaded,
is queried. It must succeed, and name only metrics and labels of tollgate's.
"""
import json, pathlib, re, sys, urllib.error, urllib.parse, urllib.request

metrics, url = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2]
docs = pathlib.Path(__file__).parent.parent.parent / "docs/monitoring"

# Metrics of Prometheus itself, and labels that it adds.
NAMES = {"up"}
LABELS = {"job", "instance", "le"}
# Words of its query language that the files use: anything else is the name of a metric.
WORDS = set("""and or unless by without on ignoring group_left group_right bool offset
    sum min max avg count topk rate increase changes time histogram_quantile""".split())

for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", metrics, re.M):
    NAMES |= {name + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
page = (docs.parent / "operating.md").read_text().split("<!-- metrics:")[1].split("<!-- end of metrics")[0]
for row in page.splitlines():
    cells = row.split("|")
    LABELS |= set(re.findall(r"`(\w+)`", cells[3])) if row.startswith("| `") else set()


def get(path, **query):
    try:
        with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def unknown(expression):
    """The words of an expression that are no metric and no label of tollgate's."""
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', expression)
    labels = [label for part in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)\s*[=!]", part)]
    grouped = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    labels += [label for part in re.findall(grouped, bare) for label in re.findall(r"\w+", part)]
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", re.sub(grouped, " ", bare))
    names = set(re.findall(r"\b[a-zA-Z_]\w*", rest)) - WORDS
    return sorted(names - NAMES) + sorted(set(labels) - LABELS)


failures, checked = [], 0


def check(place, expression):
    """The result of an expression."""
    global checked
    checked += 1
    if missing := unknown(expression):
        failures.append(f"{place}: {expression}: unknown: {', '.join(missing)}")
    answer = get("/api/v1/query", query=expression)
    if answer["status"] != "success":
        failures.append(f"{place}: {expression}: {answer.get('error')}")
    return answer.get("data", {}).get("result")


dashboard = json.loads((docs / "tollgate.json").read_text())
ids = [panel["id"] for panel in dashboard["panels"]]
assert len(ids) == len(set(ids)), "two panels have one id"
variables = {"instance": ".*", "provider": ".*", "__rate_interval": "1m"}
for panel in dashboard["panels"]:
    for target in panel.get("targets", []):
        expression = re.sub(r"\$(\w+)", lambda found: variables[found[1]], target["expr"])
        place = f"tollgate.json, `{panel['title']}`"
        if not check(place, expression):
            failures.append(f"{place}: {expression}: no result")
for variable in dashboard["templating"]["list"]:
    if found := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", "")):
        if not check(f"tollgate.json, variable `{variable['name']}`", f"count by ({found[2]}) ({found[1]})"):
            failures.append(f"tollgate.json, variable `{variable['name']}` has no values")

rules = [rule for group in get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
for rule in rules:
    check(f"alerts.yml, {rule['name']}", rule["query"])
    if {"summary", "reason", "runbook"} - set(rule["annotations"]):
        failures.append(f"alerts.yml, {rule['name']}: it needs the annotations `summary`, `reason` and `runbook`")
    # An answer that is not understood was made before the first scrape: if the rule was evaluated since then, it fires.
    if rule["state"] == "firing" and rule["name"] != "TollgateUsageNotUnderstood":
        failures.append(f"alerts.yml, {rule['name']} fires, though nothing is wrong")

# The check itself can fail.
assert unknown("sum by (outcome) (rate(tollgate_requests_totl[5m]))") == ["tollgate_requests_totl"]
assert unknown('rate(tollgate_requests_total{provder="a"}[5m])') == ["provder"]
assert unknown('sum by (a) (b{le="x{}y"} > 5)') == ["b", "a"]

if not rules or checked < 60:
    failures.append(f"only {checked} expressions, {len(rules)} of them of alerts, were found")
if failures:
    sys.exit("\n".join(failures))
print(f"monitoring: {checked} expressions succeed")
