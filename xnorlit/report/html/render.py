"""The record as one HTML file: the template, its filters, and its helpers."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from xnorlit.comparison.rows import duration
from xnorlit.report import palette
from xnorlit.report.html import wording
from xnorlit.report.html.cited import Cited, printed
from xnorlit.report.html.measured import measures
from xnorlit.report.html.pictures import (
    LAYER_TITLES,
    colours,
    cpu_times,
    is_alone,
    is_one_bit,
    is_scattered,
    pictures,
    time_of,
)

_LOSSES = {"val/loss": "validation", "train/loss_epoch": "training"}
_NUMBERS = {
    "points": wording.points,
    "gained": lambda value: wording.points(-value),
    "whole": wording.whole,
    "mebibytes": wording.mebibytes,
    "mebibytes_of_bytes": wording.mebibytes_of_bytes,
    "milliseconds": wording.milliseconds,
    "duration": duration,
    "factor": wording.factor,
    "p_value": wording.p_value,
    "share": wording.share,
    "loss": wording.loss,
    "moment": wording.moment,
    "quoted": wording.plain,
}


def render(record: dict[str, Any], argv: Sequence[str], live: Any = None) -> str:
    """The page as HTML.

    Args:
        record: The record, of `xnorlit.report.html.record`.
        argv: The command line that writes this page again, without the program's name.
        live: The parts of the section that runs a network, of `xnorlit.report.html.live`; none without it.
    """
    cited = Cited(record)
    comparison = cited.comparison
    arms = [arm["label"] for arm in comparison.value["arms"]]
    colour = colours(arms, comparison.reference.value)
    seeds = sorted({seed["seed"] for arm in comparison.value["arms"] for seed in arm["seeds"]})
    return environment().get_template("page.html.jinja").render(
        record=cited,
        live=live,
        json=_json(record),
        style=Markup(palette.style_sheet() + file("style.css")),
        script=Markup(file("script.js")),
        colour=colour,
        charts=pictures(cited, colour),
        layer_titles=LAYER_TITLES,
        classes=record["classes"],
        networks=record["networks"],
        other_bench=bool(record["bench"]) and not measures(record["bench"], record),
        source=PurePath(comparison.source.value).name,
        seeds=seeds,
        arm_counts=set(record["seeds"].values()),
        several=any(gap.top1.over_seeds for gap in comparison.gaps),
        arm_of=lambda label: next(arm for arm in comparison.arms if arm.label == label),
        time_of=lambda arm: time_of(arm.value),
        top1_of=lambda arm, seed: _seed_of(comparison, arm, seed).top1_percent,
        started_of=lambda path: next(run.started for run in cited.runs if run.run == path),
        speed=_alone(cited) if cpu_times(record) else None,
        scattered=row if (row := _alone(cited)) and is_scattered(row.value) else None,
        layers_alone=_layers_alone(cited),
        columns=lambda metric: _columns(cited, metric),
        loss_columns=[
            (f"{arm}, {kind}", line)
            for metric, kind in _LOSSES.items()
            for arm, line in _columns(cited, metric)
        ],
        loss_arms=list(dict.fromkeys(arm for name in _LOSSES for arm, _ in _columns(cited, name))),
        epochs_of=lambda columns: sorted({epoch for _, line in columns for epoch in line.epoch.value}),
        unlogged=[
            arm for arm in arms
            if arm != comparison.reference and arm not in {layers["arm"] for layers in record["layers"]}
        ],
        gap_columns=[(f"{gap.reference} − {gap.arm}", gap) for gap in cited.curves.gaps],
        named=lambda labels: ", ".join(dict.fromkeys(record["classes"][label.value] for label in labels)),
        commands=[*_commands(record), shlex.join(["xnorlit", *argv])],
        report_command=shlex.join(["xnorlit", *argv]),
        pack_command=f"xnorlit pack {shlex.quote(_binary_run(record))}",
        bench_command=f"xnorlit bench {shlex.quote(_binary_run(record) + '/packed.safetensors')} --json bench.json",
    )  # fmt: skip


def environment() -> Environment:
    """The templates, with the filters that print numbers."""
    from jinja2 import FunctionLoader

    environment = Environment(
        loader=FunctionLoader(file), autoescape=True, undefined=StrictUndefined, lstrip_blocks=True
    )
    shown = {name: printed(text) for name, text in _NUMBERS.items()}
    environment.filters.update(shown)
    environment.filters["number"] = lambda cited, name: shown[name](cited)
    environment.filters["plain"] = wording.plain
    environment.filters["breakable"] = _breakable
    environment.filters["words"] = _words
    environment.filters["unique_values"] = lambda values: len({json.dumps(value, default=str) for value in values})
    return environment


def _breakable(text: object) -> Markup:
    """A dotted key or a path that may break across lines only after a dot, an underscore or a slash."""
    return Markup(re.sub(r"([._/])(?=.)", r"\1<wbr>", str(escape(str(text)))))


def _words(command: str) -> Markup:
    """A command that may break across lines only between words, never after the hyphens of an option."""
    return Markup(" ").join(Markup('<span class="word">{}</span>').format(word) for word in command.split(" "))


def file(name: str) -> str:
    """The text of a file of this folder."""
    return resources.files("xnorlit.report.html").joinpath(name).read_text(encoding="utf-8")


def _json(record: dict[str, Any]) -> Markup:
    """JSON that is safe inside a script element: it contains no `<`."""
    text = json.dumps(record, allow_nan=False, default=str, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _commands(record: dict[str, Any]) -> Iterator[str]:
    """The commands that made and measured the runs: the shared commit, each training, each packed file."""
    commits = {run["commit"] for run in record["runs"]}
    if len(commits) == 1 and None not in commits:
        yield f"git checkout {commits.pop()}"
    yield from (run["command"] for run in record["runs"])
    for file in record["packed"]:
        ends = ["--ends", file["ends"]] if file["ends"] != "float" else []
        name = (file["checkpoint"] or "last").removesuffix(".ckpt")
        checkpoint = ["--checkpoint", name] if name != "last" else []
        yield shlex.join(["xnorlit", "pack", file["run"], *ends, *checkpoint])
    if record["bench"] and record["packed"]:
        first = record["packed"][0]
        yield shlex.join(["xnorlit", "bench", f"{first['run']}/{first['file']}", "--json", record["bench"]["file"]])


def _binary_run(record: dict[str, Any]) -> str:
    """The path of a packed run, else of the first run with one-bit inputs, else of the first with binary weights."""
    if record["packed"]:
        return record["packed"][0]["run"]
    arms = record["comparison"]["arms"]
    arm = max(arms, key=lambda arm: (is_one_bit(arm), arm["binary_parameters"] > 0))
    return arm["seeds"][0]["run"]


def _alone(cited: Cited) -> Cited | None:
    """The bench's row of the whole network, one image, one thread."""
    return next((row for row in cited.bench.rows if is_alone(row.value)), None) if cited.bench else None


def _columns(cited: Cited, metric: str) -> list[tuple[str, Cited]]:
    """Each arm's mean curve of a metric; empty if it was not logged."""
    metrics = cited.curves.metrics
    return [(arm, metrics[metric][arm].mean) for arm in metrics[metric]] if metric in metrics.value else []


def _seed_of(comparison: Cited, arm: Cited, seed: Cited) -> Cited:
    of_arm = next(found for found in comparison.arms if found.label == arm)
    return next(found for found in of_arm.seeds if found.seed == seed)


def _layers_alone(cited: Cited) -> list[Cited]:
    """The bench's rows of single layers, one image, one thread."""
    rows = cited.bench.rows if cited.bench else ()
    return [row for row in rows if row.part != "network" and (row.batch.value, row.threads.value) == (1, 1)]
