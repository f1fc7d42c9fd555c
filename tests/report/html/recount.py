"""A pair recomputed from the files of its run directories, without any code of the package.

The result has the structure of the page's record, so that a test can look up each place that the page cites.
"""

import csv
import json
import math
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file
from scipy import stats

Z = stats.norm.ppf(0.975)
SHOWN = ("val/top1", "val/loss", "train/loss_epoch")


def recount(pair: Path, bench: Path | None = None) -> dict[str, Any]:
    """Everything that the page of a pair's folder cites.

    Args:
        pair: Folder of arms with finished runs only, one of them `float`, which has every seed of the others.
        bench: What `xnorlit bench --json` wrote.
    """
    names = sorted(folder.parent.name for folder in pair.glob("*/seed-0") if folder.parent.name != "float")
    arms = {name: [Run(path) for path in sorted((pair / name).glob("seed-*"))] for name in [*names, "float"]}
    paired = {run.seed for name in names for run in arms[name]}
    arms["float"] = [run for run in arms["float"] if run.seed in paired]
    twins = {name: [_of_seed(arms["float"], run.seed) for run in arms[name]] for name in names}
    first = arms["float"][0]
    gaps = [_gap(name, arms[name], twins[name]) for name in names]
    return {
        "comparison": {
            "images": len(first.label), "classes": len(first.classes),
            "arms": [_arm(name, runs) for name, runs in arms.items()],
            "gaps": gaps,
            "published": {"binary_top1": 43.112, "binary_top5": 70.341, "float_top1": 54.623, "float_top5": 78.854},
            "claims": [{"factor": 32}, {"factor": 58}],
        },
        "paper_gap": 54.623 - 43.112,
        "seeds": {name: len(runs) for name, runs in arms.items()},
        "curves": _curves(arms, twins),
        "layers": [layers for name, runs in arms.items() if (layers := _layers(name, runs[0]))],
        "packed": [file for name, runs in arms.items() for run in runs for file in run.packed(name)],
        "bench": _bench(bench) if bench else None,
        "confusions": {
            "of_arms": {name: sum(run.confusion for run in runs).tolist() for name, runs in arms.items()},
            "changes": [_changes(name, arms) for name in names],
        },
        "disputed": [_disputed(name, arms[name], twins[name]) for name in names],
        "runs": [run.environment(name) for name, runs in arms.items() for run in runs],
        "environments": _environments(arms),
    }  # fmt: skip


class Run:
    """The files of a run directory, parsed."""

    def __init__(self, path: Path) -> None:
        self.path, self.seed = path, int(path.name.removeprefix("seed-"))
        self.summary = json.loads((path / "summary.json").read_text())
        self.machine = json.loads((path / "environment.json").read_text())
        self.config = yaml.safe_load((path / "config.yaml").read_text())
        file = path / "predictions.safetensors"
        found = load_file(file)
        self.classes = json.loads(_metadata(file)["classes"])
        self.index, self.label, self.ranked, self.logit = (
            found[key] for key in ("index", "label", "top5", "top5_logit")
        )
        self.confusion = np.zeros((len(self.classes),) * 2, int)
        np.add.at(self.confusion, (self.label, self.ranked[:, 0]), 1)
        with (path / "metrics.csv").open() as lines:
            self.rows = list(csv.DictReader(lines))

    def right(self, k: int) -> np.ndarray:
        return np.array([label in ranked[:k] for label, ranked in zip(self.label, self.ranked, strict=True)], float)

    def line(self, metric: str) -> dict[str, list]:
        """The last value of each epoch, epochs from 1."""
        last = {int(row["epoch"]) + 1: float(row[metric]) for row in self.rows if row.get(metric)}
        return {"epoch": list(last), "value": [value if math.isfinite(value) else None for value in last.values()]}

    def packed(self, arm: str) -> list[dict]:
        found = []
        for ends, name in (("float", "packed.safetensors"), ("int8", "packed-int8.safetensors")):
            if (self.path / name).exists():
                size = (self.path / name).stat().st_size
                says = json.loads(_metadata(self.path / name)["xnorlit.packed"])
                reached, checkpoint = says["accuracy"], says.get("source", {}).get("checkpoint")
                keep = {key: reached[key] for key in ("top1", "top5", "images")} if reached else None
                factor = self.summary["parameters"] * 4 / size
                found.append(
                    {
                        "arm": arm,
                        "ends": ends,
                        "bytes": size,
                        "factor": factor,
                        "accuracy": keep,
                        "checkpoint": checkpoint,
                    }
                )
        return found

    def environment(self, arm: str) -> dict[str, Any]:
        started = self.machine["started"].replace("Z", "+0000")
        pattern = "%Y-%m-%dT%H:%M:%S%z"  # with or without a colon in the offset
        moment = datetime.strptime(started, pattern).astimezone(UTC)
        return {"arm": arm, "seed": self.seed, "started": moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")}


def _of_seed(runs: list[Run], seed: int) -> Run:
    return next(run for run in runs if run.seed == seed)


def _metadata(file: Path) -> dict[str, str]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return json.loads(stream.read(length))["__metadata__"]


def _wilson(right: float, n: int) -> dict[str, float]:
    p = right / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return {"low": 100 * (middle - half), "high": 100 * (middle + half)}


def _mean(values: list[float]) -> dict[str, float | None]:
    return {"mean": sum(values) / len(values), "spread": np.std(values, ddof=1) if len(values) > 1 else None}


def _arm(name: str, runs: list[Run]) -> dict[str, Any]:
    summary = runs[0].summary
    seeds = [
        {
            "seed": run.seed, "epochs": run.summary["epochs"], "top1_percent": 100 * run.right(1).mean(),
            "top1_interval": _wilson(run.right(1).sum(), len(run.label)), "top5_percent": 100 * run.right(5).mean(),
            "best_top1_percent": 100 * run.summary["best_top1"], "best_epoch": run.summary["best_epoch"],
            "train_seconds": run.summary["train_seconds"], "step_seconds": run.summary["step_seconds"],
        }
        for run in runs
    ]  # fmt: skip
    means = ("top1_percent", "top5_percent", "train_seconds", "step_seconds")
    return {
        "label": name, "seeds": seeds, "parameters": summary["parameters"],
        "binary_parameters": summary["binary_parameters"], "float_bits": summary["bits"]["float"],
        "packed_bits": summary["bits"]["packed"],
        **{key: _mean([seed[key] for seed in seeds]) for key in means},
    }  # fmt: skip


def _bootstrap(d: np.ndarray) -> dict[str, float]:
    """Of [seeds, images] differences: other images with replacement, 10,000 times, by how often each total is drawn."""
    seeds, images = d.shape
    totals = d.sum(axis=0)
    shares = [np.mean(totals == t) for t in range(-seeds, seeds + 1)]
    drawn = np.random.default_rng(0).multinomial(images, shares, size=10_000)
    means = 100 * (drawn * np.arange(-seeds, seeds + 1)).sum(axis=1) / (images * seeds)
    return {"low": np.quantile(means, 0.025), "high": np.quantile(means, 0.975)}


def _of_both(d: np.ndarray) -> dict[str, float] | None:
    """Two-way analysis of variance: seeds, images, and the rest."""
    seeds, images = d.shape
    if seeds < 2:
        return None
    total = ((d - d.mean()) ** 2).sum()
    between_seeds = images * ((d.mean(axis=1) - d.mean()) ** 2).sum()
    between_images = seeds * ((d.mean(axis=0) - d.mean()) ** 2).sum()
    rest = (total - between_seeds - between_images) / ((seeds - 1) * (images - 1))
    shared = max(0.0, (between_images / (images - 1) - rest) / seeds) / images
    of_seeds = between_seeds / images / (seeds - 1) / seeds
    half = math.sqrt(stats.t.ppf(0.975, seeds - 1) ** 2 * of_seeds + Z * Z * shared)
    return {"low": 100 * (d.mean() - half), "high": 100 * (d.mean() + half)}


def _sign_test(a: int, b: int) -> float:
    return min(1.0, 2 * stats.binom.cdf(min(a, b), a + b, 0.5)) if a + b else 1.0


def _accuracy_gap(k: int, runs: list[Run], twins: list[Run]) -> dict[str, Any]:
    d = np.array([twin.right(k) - run.right(k) for run, twin in zip(runs, twins, strict=True)])
    points = 100 * d.mean(axis=1)
    over_seeds = None
    if len(d) > 1:
        half = stats.t.ppf(0.975, len(d) - 1) * points.std(ddof=1) / math.sqrt(len(d))
        over_seeds = {"low": points.mean() - half, "high": points.mean() + half}
    counts = [(int((of == 1).sum()), int((of == -1).sum())) for of in d]
    return {
        "points": 100 * d.mean(), "spread": points.std(ddof=1) if len(d) > 1 else None,
        "over_images": _bootstrap(d), "over_seeds": over_seeds, "over_both": _of_both(d),
        "seeds": [
            {"seed": run.seed, "points": p, "only_reference": a, "only_arm": b, "mcnemar_p": _sign_test(a, b)}
            for run, p, (a, b) in zip(runs, points, counts, strict=True)
        ],
    }  # fmt: skip


def _gap(arm: str, runs: list[Run], twins: list[Run]) -> dict[str, Any]:
    ours, theirs = runs[0].summary, twins[0].summary
    d = np.array([twin.right(1) - run.right(1) for run, twin in zip(runs, twins, strict=True)])
    n = d.shape[1]
    order = np.random.default_rng(0).permutation(n)
    parts = [order[:size] for size in sorted({n // 2**k for k in range(5)}) if size >= min(50, n)]
    binary = ours["bits"].get("binary")
    return {
        "arm": arm, "reference": "float", "top1": _accuracy_gap(1, runs, twins), "top5": _accuracy_gap(5, runs, twins),
        "classes": _classes(d, runs[0]),
        "parts": [
            {"images": len(part), "points": 100 * d[:, part].mean(), "over_images": _bootstrap(d[:, part])}
            for part in parts
        ],
        "binary_weights_factor": 32 * ours["binary_parameters"] / binary if binary else None,
        "packed_size_factor": theirs["bits"]["packed"] / ours["bits"]["packed"],
    }  # fmt: skip


def _classes(d: np.ndarray, run: Run) -> list[dict[str, Any]]:
    found = []
    for k, name in enumerate(run.classes):
        of = d[:, run.label == k]
        plus, minus = int((of.sum(axis=0) > 0).sum()), int((of.sum(axis=0) < 0).sum())
        found.append(
            {
                "name": name, "images": of.shape[1], "points": 100 * of.mean(), "only_reference": plus,
                "only_arm": minus, "p": _sign_test(plus, minus),
            }
        )  # fmt: skip
    # Holm: the smallest p times their number, the next times one fewer, never less than the one before.
    least = 0.0
    for rank, row in enumerate(sorted(found, key=lambda row: row["p"])):
        least = row["holm_p"] = max(least, min(1.0, (len(found) - rank) * row["p"]))
    return found


def _average(lines: list[dict], of: Any = lambda values: sum(values) / len(values)) -> dict[str, list]:
    at = [dict(zip(line["epoch"], line["value"], strict=True)) for line in lines]
    shared = [epoch for epoch in at[0] if all(epoch in one for one in at)]
    values = [[one[epoch] for one in at] for epoch in shared]
    return {"epoch": shared, "value": [None if None in those else of(those) for those in values]}


def _curves(arms: dict[str, list[Run]], twins: dict[str, list[Run]]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for metric in SHOWN:
        for name, runs in arms.items():
            lines = [run.line(metric) for run in runs]
            if all(line["epoch"] for line in lines):
                seeds = [{"seed": run.seed, **line} for run, line in zip(runs, lines, strict=True)]
                metrics.setdefault(metric, {})[name] = {"seeds": seeds, "mean": _average(lines)}
    gaps = []
    for name, of in twins.items():
        both = [(run.line("val/top1"), twin.line("val/top1")) for run, twin in zip(arms[name], of, strict=True)]
        lines = [_average([twin, run], lambda pair: 100 * (pair[0] - pair[1])) for run, twin in both]
        least, most = (_average(lines, pick)["value"] for pick in (min, max))
        gaps.append({"arm": name, **_average(lines), "least": least, "most": most})
    return {"metrics": metrics, "gaps": gaps}


def _layers(arm: str, run: Run) -> dict[str, Any] | None:
    what: dict[str, dict] = {}
    for column in run.rows[0]:
        kind = column.rpartition("/")[2]
        if column.startswith("layer/") and kind in ("flips", "saturated", "dead"):
            what.setdefault(kind, {})[column.split("/")[1]] = run.line(column)
    return {"arm": arm, "seed": run.seed, "what": what} if what else None


def _changes(name: str, arms: dict[str, list[Run]]) -> dict[str, Any]:
    ours, theirs = (sum(run.confusion for run in arms[of]).tolist() for of in (name, "float"))
    cells = [(i, j) for i in range(len(ours)) for j in range(len(ours)) if i != j and ours[i][j] != theirs[i][j]]
    cells.sort(key=lambda at: -abs(ours[at[0]][at[1]] - theirs[at[0]][at[1]]))
    return {"pairs": [{"true": i, "taken_for": j, "arm": ours[i][j], "reference": theirs[i][j]} for i, j in cells[:10]]}


def _disputed(name: str, runs: list[Run], twins: list[Run]) -> dict[str, Any]:
    first = runs[0]
    sure = sum((run.logit[:, 0].astype(float) - run.logit[:, 1]) for run in (*runs, *twins))
    sides = []
    for winners, losers in ((twins, runs), (runs, twins)):
        lead = sum(run.right(1) for run in winners) - sum(run.right(1) for run in losers)
        order = [i for i in sorted(range(len(lead)), key=lambda i: (-lead[i], -sure[i], i))[:12] if lead[i] > 0]
        images = [
            {
                "index": int(first.index[i]), "true": int(first.label[i]), "lead": int(lead[i]),
                "winners": [int(run.ranked[i, 0]) for run in winners],
                "losers": [int(run.ranked[i, 0]) for run in losers],
            }
            for i in order
        ]  # fmt: skip
        sides.append({"images": images})
    return {"arm": name, "seeds": len(runs), "sides": sides}


def _environments(arms: dict[str, list[Run]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    packages = sorted({name for runs in arms.values() for run in runs for name in run.machine["packages"]})
    for arm, runs in arms.items():
        for run in runs:
            of = run.machine
            git = of["git"] or {"commit": None, "dirty": False}
            values = {
                "processor": of["cpu"], "GPU": of["gpu"] or "none", "cores": of["cores"], "threads": of["threads"],
                "platform": of["platform"], "loader": of["backend"], "Python": of["python"],
                "commit": (git["commit"] or "none")[:9] + (" changed" if git["dirty"] else ""),
                **{name: of["packages"].get(name, "none") for name in packages},
            }  # fmt: skip
            same = next((one for one in found if one["values"] == values), None)
            if same is None:
                found.append(same := {"runs": [], "values": values})
            same["runs"].append(f"{arm}/seed-{run.seed}")
    return found


def _bench(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text())
    memory, rows = found["memory"], []
    for row in found["rows"]:
        sides = [side for side in row["seconds"] if side.startswith("packed") and not side.endswith("one thread")]
        for ends in dict.fromkeys(side.split(" ", 2)[2] if side.count(" ") > 1 else "" for side in sides):
            side = min((s for s in sides if s.endswith(ends)), key=lambda s: row["seconds"][s]["median"])
            ratio = next(r for r in row["ratios"] if (r["over"], r["ours"]) == ("torch's best fp32", side))
            theirs = row["seconds"][row["best_fp32"]]
            rows.append(
                {
                    "part": row["part"], "batch": row["batch"], "threads": row["threads"], "side": side,
                    "seconds": _quartiles(row["seconds"][side]), "fp32_seconds": _quartiles(theirs),
                    "ratio": _quartiles(ratio), "of_medians": theirs["median"] / row["seconds"][side]["median"],
                }
            )  # fmt: skip
    return {
        "rows": rows, "binary_fp32": memory["binary_fp32"], "binary_disk": memory["binary_disk"],
        "binary_factor": memory["binary_fp32"] / memory["binary_disk"], "warnings": found["warnings"],
    }  # fmt: skip


def _quartiles(figure: dict) -> dict[str, float]:
    return {key: figure[key] for key in ("median", "lower", "upper")}
