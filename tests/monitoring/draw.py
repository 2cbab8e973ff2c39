"""Draws the dashboard's panels from the series in a Prometheus: draw.py PROMETHEUS_URL FILE. It needs matplotlib."""
import json, math, pathlib, re, sys, time, urllib.parse, urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker

url, file = sys.argv[1:]
docs = pathlib.Path(__file__).parent.parent.parent / "docs/monitoring"
END = time.time()
SPAN, STEP = 120, 2
VARIABLES = {"instance": ".*", "provider": ".*", "__rate_interval": "15s"}


def query(path, **arguments):
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def series(target):
    expression = re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], target["expr"])
    for one in query("query_range", query=expression, start=END - SPAN, end=END, step=STEP):
        name = re.sub(r"\{\{(\w+)\}\}", lambda found: one["metric"].get(found[1], ""), target["legendFormat"])
        yield name, [(float(at) - END, float(value)) for at, value in one["values"] if math.isfinite(float(value))]


def shown(value, unit):
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    suffix = {"reqps": "/s", "ops": "/s", "Bps": " B/s"}.get(unit, "")
    return f"{value / 1000:.3g} k{suffix}" if abs(value) >= 1000 else f"{value:.3g}{suffix}"


def stat(axes, panel):
    found = [one for target in panel["targets"] for one in series(target)]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    name = panel["options"]["textMode"] == "name"
    text = ", ".join(one[0] if name else shown(one[1][-1][1], unit) for one in found if one[1])
    axes.text(0.5, 0.45, text or "no data", ha="center", va="center", fontsize=20, color="#2a6")
    axes.set_axis_off()


def graph(axes, panel):
    defaults = panel["fieldConfig"]["defaults"]
    found = [one for target in panel["targets"] for one in series(target) if one[1]]
    if defaults["custom"]["stacking"]["mode"] == "normal" and found:
        times = sorted({at for _, points in found for at, _ in points})
        rows = [[dict(points).get(at, 0) for at in times] for _, points in found]
        axes.stackplot(times, rows, labels=[name for name, _ in found], alpha=0.6)
    else:
        for name, points in found:
            axes.plot(*zip(*points), label=name, linewidth=1.2)
    axes.set_ylim(bottom=0, top=1.05 if defaults["unit"] == "percentunit" else None)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shown(value, defaults["unit"])))
    axes.set_xlim(-SPAN, 0)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda at, _: f"{at:.0f} s"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    if found:
        axes.legend(fontsize=6.5, loc="upper left", framealpha=0.7)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, color="#999")


dashboard = json.loads((docs / "tollgate.json").read_text())
panels = dashboard["panels"]
height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
figure = pyplot.figure(figsize=(18, height * 0.36), dpi=80)
for panel in panels:
    place = panel["gridPos"]
    bottom = 1 - (place["y"] + place["h"]) / height
    if panel["type"] == "row":
        figure.text(0.01, bottom + 0.2 / height, panel["title"], fontsize=13, weight="bold")
        continue
    left, width = place["x"] / 24, place["w"] / 24
    axes = figure.add_axes((left + 0.035, bottom + 1.1 / height, width - 0.045, (place["h"] - 2.4) / height))
    axes.set_title(panel["title"], fontsize=9.5)
    (stat if panel["type"] == "stat" else graph)(axes, panel)
figure.savefig(file)
