"""Every number on a pair's page is recomputed from its run directories; one changed digit is noticed.

XNORLIT_PAIR=runs/cifar10/pair-0 tests your own trained runs, and XNORLIT_BENCH=bench.json your own bench with them.
"""

import csv
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.report.html.numbers import Page
from tests.report.html.printed import estimates, lines, networks, says
from tests.report.html.recount import recount
from tests.report.html.test_measured import bench as made_bench
from tests.report.html.test_measured import packed
from tests.runs.factory import write_run
from xnorlit.commands.report import report

DIGITS, RAISED = "0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"
NEXT = {digit: row[(i + 1) % 10] for row in (DIGITS, RAISED) for i, digit in enumerate(row)}
PIXEL = 0.06  # coordinates are printed with a tenth of one


def looked_up(truth, place: str):
    for step in place.split("/")[1:]:
        truth = truth[int(step)] if isinstance(truth, list) else truth[step.replace("~1", "/").replace("~0", "~")]
    return truth


def same(a, b) -> bool:
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 if a > 1e-3 or a == 0 else 0)
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def wrong_numbers(page: Page, truth: dict) -> list[str]:
    """The printed numbers that differ from the files, in their machine-readable value or in their text."""
    found = []
    for (place, value, text), before in zip(page.numbers, page.before, strict=True):
        try:
            true, given = looked_up(truth, place), json.loads(value)
        except (LookupError, TypeError, ValueError):
            found.append(f"{place} is not in the files, or {value} is no JSON")
            continue
        true = float(true) if isinstance(true, np.floating) else true
        if not same(true, given) or not says(text, given, place, before):
            found.append(f"{place}: {true!r} is printed as {text} ({value})")
    return found


def wrong_leaves(record, truth, place: str = "") -> list[str]:
    """Places where the record inside the page differs from the files."""
    if isinstance(truth, dict):
        return [bad for key, of in truth.items() for bad in wrong_leaves(record[key], of, f"{place}/{key}")]
    if isinstance(truth, list):
        if len(truth) != len(record):
            return [f"{place} has {len(record)} items, not {len(truth)}"]
        return [bad for i, of in enumerate(truth) for bad in wrong_leaves(record[i], of, f"{place}/{i}")]
    truth = float(truth) if isinstance(truth, np.floating) else truth
    return [] if same(truth, record) else [f"{place}: {truth!r} is {record!r}"]


def expected_lines(truth: dict) -> list[dict]:
    """Of each picture with lines, by (label, kind), the values on its axes."""
    metrics = truth["curves"]["metrics"]
    top1 = {(arm, "mean"): (100, of["mean"]) for arm, of in metrics["val/top1"].items()}
    for arm, of in metrics["val/top1"].items():
        top1 |= {(f"{arm}, seed {s['seed']}", "seed"): (100, s) for s in of["seeds"] if len(of["seeds"]) > 1}
    gaps = {(f"float − {gap['arm']}", "mean"): (1, gap) for gap in truth["curves"]["gaps"]}
    kinds = {"val/loss": "mean", "train/loss_epoch": "dashed"}
    losses = {
        (f"{arm}, {name.partition('/')[0]}", kinds[name]): (1, of["mean"])
        for name in kinds
        for arm, of in metrics.get(name, {}).items()
    }
    layers = [
        {(layer, "mean"): (100, line) for layer, line in of["what"][kind].items()}
        for of in truth["layers"]
        for kind in ("flips", "saturated", "dead")
        if kind in of["what"]
    ]
    return [
        {
            key: [(e, scale * v) for e, v in zip(line["epoch"], line["value"], strict=True) if v is not None]
            for key, (scale, line) in one.items()
        }
        for one in (top1, gaps, losses, *layers)
    ]


def wrong_pictures(page: Page, truth: dict) -> list[str]:
    """The lines whose drawn positions differ from the files."""
    drawn = [svg for svg in page.pictures if "data-chart" in svg]
    expected, found = expected_lines(truth), []
    if len(drawn) != len(expected):
        return [f"{len(drawn)} pictures of lines, not {len(expected)}"]
    for svg, of in zip(drawn, expected, strict=True):
        shown = lines(svg)
        heights = [v for line in shown.values() for _, v in line]
        near = max(PIXEL * (max(heights) - min(heights)) / 20, 2e-3 * max(map(abs, heights)), 1e-6)
        for key, points in of.items():
            if len(shown.get(key, ())) != len(points) or not np.allclose(shown[key], points, rtol=0, atol=[2e-2, near]):
                found.append(f"{key}")
    return found


def wrong_networks(page: Page, truth: dict) -> list[str]:
    """The points whose drawn positions differ from the files: sizes, and times if a bench has them."""
    arms = {arm["label"]: arm for arm in truth["comparison"]["arms"]}
    places = {
        f"{name}, packed" if arm["packed_bits"] != arm["float_bits"] else name: (arm["packed_bits"] / 2**23, name)
        for name, arm in arms.items()
    }
    expected = {"Accuracy against memory": places}
    if any("Accuracy against CPU time" in svg for svg in page.pictures):
        rows = truth["bench"]["rows"]
        alone = next(
            r for r in rows if (r["part"], r["batch"], r["threads"]) == ("network", 1, 1) and "int8" not in r["side"]
        )
        times = {"float": alone["fp32_seconds"], "xnor": alone["seconds"]}
        expected["Accuracy against CPU time"] = {arm: (1000 * of["median"], arm) for arm, of in times.items()}
    found = []
    for title, points in expected.items():
        shown = networks(next(svg for svg in page.pictures if title in svg))
        for label, (x, arm) in points.items():
            at, height = shown.pop(label)
            if not math.isclose(x, at, rel_tol=5e-3) or abs(height - arms[arm]["top1_percent"]["mean"]) > 0.05:
                found.append(f"{title}: {label}")
        found += shown
    return found


def wrong_estimates(page: Page, truth: dict) -> list[str]:
    """The accuracies, seeds and intervals whose drawn positions differ from the files."""
    shown = estimates(next(svg for svg in page.pictures if "Accuracy with intervals" in svg))
    gaps, found = {gap["arm"]: gap["top1"] for gap in truth["comparison"]["gaps"]}, []
    for arm in truth["comparison"]["arms"]:
        mean, gap = arm["top1_percent"]["mean"], gaps.get(arm["label"])
        expected = {"mean": [mean], "seeds": [seed["top1_percent"] for seed in arm["seeds"]], "interval": []}
        expected["seeds"] = expected["seeds"] if len(expected["seeds"]) > 1 else []
        expected["against"] = [mean + gap["points"] if gap else mean]
        if gap:
            both, images = gap["over_both"], gap["over_images"]
            decides = (
                images
                if both is None or (both["low"] <= 0 <= both["high"] and images["low"] * images["high"] > 0)
                else both
            )
            expected["interval"] = [mean + gap["points"] - decides[end] for end in ("high", "low")]
        row = shown.pop(arm["label"], {})
        found += [
            f"{arm['label']}: {name} is drawn at {row.get(name)}, not {values}"
            for name, values in expected.items()
            if len(row.get(name, ())) != len(values) or not np.allclose(row[name], values, rtol=0, atol=0.05)
        ]
    return [*found, *shown]


def unexplained(page: Page, truth: dict) -> list[str]:
    """Words with digits that cite no place, other than names and constants of the method. There must be none."""
    record, comparison = page.record, truth["comparison"]
    shown = record["comparison"]
    names = [
        *(gap["difference"]["verdict"] for gap in shown["gaps"]), *shown["notes"], record["pictures"]["why_not"],
        *record["classes"], *record["networks"], shown["published"]["source"], shown["claims"][0]["source"],
        f"{shown['experiment']}/{shown['pair']}", Path(shown["source"]).name,
        *(arm["label"] for arm in comparison["arms"]),
        *(row["part"] for row in (truth["bench"] or {"rows": []})["rows"]),
        *(layer for of in truth["layers"] for layers in of["what"].values() for layer in layers),
        *(run for of in truth["environments"] for run in of["runs"]), record["made"]["xnorlit"], record["made"]["at"],
        *((record["bench"]["cpu"], record["bench"]["network"]) if record["bench"] else ()),
        *(arm["binarizer"] for arm in shown["arms"]),
    ]  # fmt: skip
    seeds = {len(arm["seeds"]) for arm in comparison["arms"]}
    constants = [
        r"[Tt]op-[15]", r"outside −1 to 1", r"95 %",
        r"10,000 draws", r"contains 0", r"near 0", r"fp32", r"\b8-bit", r"\bint8\b", r"32 bits", r"SHA-256",
        r"below 0\.05",
        *(rf"\b{n} trained pairs" for n in seeds),
        *(rf"seed {seed['seed']}\b" for seed in comparison["arms"][-1]["seeds"]),
        rf"\b{len(shown['notes'])} notes?", r"alexnet-\d+", r"#$",
    ]  # fmt: skip
    epochs = {str(e) for of in truth["curves"]["metrics"].values() for arm in of.values() for e in arm["mean"]["epoch"]}
    found = []
    for text in page.stray:
        left = text
        for name in sorted(filter(None, names), key=len, reverse=True):
            left = left.replace(name, "")
        left = re.sub("|".join(constants), "", left)
        if re.search(r"\d", left) and text not in epochs:
            found.append(text)
    return found


def everything_wrong(html: str, truth: dict) -> list[str]:
    page = Page.of(html)
    return [
        *wrong_numbers(page, truth), *wrong_leaves(page.record, truth), *wrong_pictures(page, truth),
        *wrong_networks(page, truth), *wrong_estimates(page, truth), *unexplained(page, truth),
    ]  # fmt: skip


def log_layers(path: Path, rng: np.random.Generator) -> None:
    """Five epochs of logs, with a gap and a repeated step."""
    with (path / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["epoch", "step", "val/top1", "val/loss", "train/loss_epoch", "layer/conv2/flips", "layer/conv2/dead"]
        )
        for epoch in range(5):
            writer.writerow([epoch, 100 * epoch + 99, "", "", *rng.random(3).round(4)])
            writer.writerow(
                [epoch, 100 * epoch + 99, *rng.random(1), "nan" if epoch == 2 else 1 / (epoch + 1), "", "", ""]
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[str, dict]:
    """The page of three made seeds of three arms and a bench, and the truth about them."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for seed in range(3):
        for arm, share in (("bwn", 0.8), ("xnor", 0.65), ("float", 0.8)):
            summary = {"train_seconds": 7000 * rng.random(), "best_top1": share + rng.random() / 10}
            path = write_run(root / "runs", arm, seed, right=rng.random(1000) < share, summary=summary)
            log_layers(path, rng)
            if arm == "xnor" and seed < 2:
                reached = {"top1": 0.6512, "top5": 0.9, "images": 1000, "listing_sha256": "0" * 64}
                packed(path, json.dumps({"accuracy": reached, "source": {"checkpoint": "last.ckpt"}}))
    (root / "bench.json").write_text(json.dumps(made_bench()))
    page = report(root=root / "runs", bench=root / "bench.json")
    return page.read_text(), recount(root / "runs" / "synthetic" / "pair-0", root / "bench.json")


def test_every_number_is_found_again_in_the_files(made):
    assert everything_wrong(*made) == []


def test_a_single_changed_digit_is_found(made):
    """Each digit of each printed number, of its value for programs, and some of the record, of lines and of words."""
    html, truth = made
    page = Page.of(html)
    assert len(page.numbers) > 700
    before = page.before
    for number, words in zip(list(page.numbers), before, strict=True):
        place, value, text = number
        # Of the seventeen digits that a float is written with, the last ones are rounding.
        for field, at, digits in ((1, value, DIGITS), (2, text, DIGITS + RAISED)):
            for i, char in enumerate(at[:10]):
                if char in digits:
                    changed = list(number)
                    changed[field] = f"{at[:i]}{NEXT[char]}{at[i + 1 :]}"
                    one = Page(numbers=[tuple(changed)], before=[words])
                    assert wrong_numbers(one, truth), (place, text, changed)


def test_a_changed_record_line_point_or_word_is_found(made):
    html, truth = made
    value = Page.of(html).record["layers"][0]["what"]["flips"]["conv2"]["value"][1]
    changes = [
        (f"{value}", f"{value + 0.01}"),
        (r'(<g class="arm-1 mean">.*?<path d="M[\d.]+ [\d.]+L[\d.]+ )([\d.]+)', lambda m: f"{m[1]}{float(m[2]) + 1.5}"),
        (r'(<circle cx=")([\d.]+)(" cy="[\d.]+" r="6")', lambda m: f"{m[1]}{float(m[2]) + 3}{m[3]}"),
        (r'(class="interval" x1=")([\d.]+)', lambda m: f"{m[1]}{float(m[2]) + 4}"),
        (r'(<circle class="one" cx=")([\d.]+)', lambda m: f"{m[1]}{float(m[2]) + 4}"),
        (r'(class="against" x1=")([\d.]+)', lambda m: f"{m[1]}{float(m[2]) + 4}"),
        ("Four times as many images", "4 times as many images"),
        ("10,000 draws", "20,000 draws"),
    ]
    for pattern, new in changes:
        pattern = pattern if callable(new) else re.escape(pattern)
        changed = re.sub(pattern, new, html, count=1, flags=re.DOTALL)
        assert changed != html
        assert everything_wrong(changed, truth), pattern


@pytest.mark.skipif(not os.environ.get("XNORLIT_PAIR"), reason="XNORLIT_PAIR names no pair of trained runs")
def test_every_number_of_the_named_pair_is_found_again(tmp_path):
    pair = Path(os.environ["XNORLIT_PAIR"]).resolve()
    bench = Path(os.environ["XNORLIT_BENCH"]).resolve() if os.environ.get("XNORLIT_BENCH") else None
    html = report([str(pair)], bench=bench, out=tmp_path / "report.html").read_text()
    assert everything_wrong(html, recount(pair, bench)) == []
