"""Measurements of the packed network appear on the page as measured, or the page says why not."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.report.html.numbers import Page
from tests.runs.factory import write_run
from xnorlit.commands.report import report
from xnorlit.errors import UserError
from xnorlit.report.html.measured import packed_files, read_bench
from xnorlit.report.html.pictures import cpu_times
from xnorlit.runs import read


def figure(median: float) -> dict:
    return {"median": median, "lower": 0.9 * median, "upper": 1.2 * median, "least": 0.8 * median, "rounds": 15}


def row(part: str, ends: str, ratio: float, batch: int = 1) -> dict:
    """torch takes 12 ms; the slower of two kernels is never shown."""
    sides = {f"packed {path}{ends}": figure(0.012 / ratio * slower) for path, slower in (("avx512", 1), ("avx2", 2))}
    return {
        "part": part, "batch": batch, "threads": 1, "best_fp32": "fp32",
        "seconds": {"fp32": figure(0.012), "packed avx512 one thread": figure(1e-9)} | sides,
        "ratios": [
            {"over": "torch's best fp32", "ours": f"packed avx512{ends}", **figure(ratio)},
            {"over": "torch's best fp32", "ours": f"packed avx2{ends}", **figure(ratio / 2)},
            {"over": "torch int8", "ours": f"packed avx512{ends}", **figure(99)},
        ],
    }  # fmt: skip


def bench(network: str = "alexnet-small") -> dict:
    return {
        "format": 1, "machine": {"cpu": "A CPU"}, "subject": {"network": network, "weights": "trained"},
        "rows": [row("conv2", "", 15), row("conv2", "", 40, batch=32), row("network", " float ends", 6)],
        "memory": {"files": {"float": 300_000}, "fp32": 6_000_000, "binary_fp32": 5_800_000, "binary_disk": 190_000},
        "warnings": ["load average 3.0 on 2 processors"],
    }  # fmt: skip


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs"), "xnor", right=650)
    write_run(Path("runs"), "float", right=800)
    Path("bench.json").write_text(json.dumps(bench()))


def test_printed_commands_repeat_the_measurements(pair):
    for name in ("packed.safetensors", "packed-int8.safetensors"):
        source = {"checkpoint": "best.ckpt" if "int8" in name else "last.ckpt"}
        packed(Path("runs/synthetic/pair-0/xnor/seed-0"), json.dumps({"accuracy": None, "source": source}), name)
    html = report(bench=Path("bench.json")).read_text()
    commands = re.sub(r"<[^>]+>", "", re.search(r"<pre.*?</pre>", html, re.DOTALL)[0]).splitlines()
    run = "runs/synthetic/pair-0/xnor/seed-0"
    assert commands[-4:] == [
        f"xnorlit pack {run}", f"xnorlit pack {run} --ends int8 --checkpoint best",
        f"xnorlit bench {run}/packed.safetensors --json bench.json", "xnorlit report --bench bench.json",
    ]  # fmt: skip


def test_times_of_a_bench_are_on_the_page_with_their_quartiles(pair):
    html = report(bench=Path("bench.json")).read_text()
    page = Page.of(html)
    (conv2, many, network) = page.record["bench"]["rows"]
    assert (network["seconds"]["median"], network["fp32_seconds"]["median"]) == (0.002, 0.012)
    assert (conv2["ratio"]["median"], many["ratio"]["median"]) == (15, 40)
    at = {place for place, *_ in page.numbers}
    # The verdict and the claim cite one image on one thread, not the best figure.
    assert "/bench/rows/2/ratio/median" in at
    claim = html[html.index("faster convolution on a CPU") :].split("</tr>")[0]
    assert "/bench/rows/0/ratio/median" in claim
    assert "/bench/rows/1/ratio/median" not in claim
    assert "Accuracy against CPU time" in html
    assert "load average 3.0 on 2 processors" in html


def test_a_binary_arm_never_has_torchs_time_even_if_it_is_the_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arm, lr in (("slow", 0.001), ("fast", 0.003)):
        write_run(Path("runs"), arm, right=650, config={"model.optimizer.init_args.lr": lr})
    Path("bench.json").write_text(json.dumps(bench()))
    html = report(bench=Path("bench.json")).read_text()
    assert [seconds["median"] for _, seconds, _ in cpu_times(Page.of(html).record)] == [0.002, 0.002]
    assert "as fast on one CPU thread" not in html
    time = html[html.index("<dt>CPU time per image") :].split("</div>")[0]
    assert len(re.findall("6 × as fast as fp32", re.sub(r"<[^>]+>", "", time).replace("\xa0", " "))) == 2


@pytest.mark.parametrize(
    ("size", "classes", "drawn"), [(32, 10, True), (None, None, True), (64, 10, False), (32, 1000, False)]
)
def test_a_bench_of_other_sizes_is_not_drawn_beside_these_accuracies(tmp_path, monkeypatch, size, classes, drawn):
    monkeypatch.chdir(tmp_path)
    for arm in ("xnor", "float"):
        write_run(Path("runs"), arm, config={"data.image_size": 32})
    found = bench()
    found["subject"] |= {"image_size": size, "classes": classes} if size else {}
    Path("bench.json").write_text(json.dumps(found))
    html = report(bench=Path("bench.json")).read_text()
    assert ("Accuracy against CPU time" in html) == drawn
    text = " ".join(re.sub(r"<[^>]+>", "", html).split())
    said = f"alexnet-small at {size} pixels with {classes:,} classes, but" if size else "The bench measured the network"
    assert (said in text) == (not drawn)


def test_a_bench_of_another_network_is_not_drawn_beside_these_accuracies(pair):
    Path("bench.json").write_text(json.dumps(bench("alexnet-xnor")))
    html = report(bench=Path("bench.json")).read_text()
    assert "Accuracy against CPU time" not in html
    assert "The bench measured the network alexnet-xnor, but these runs trained alexnet-small" in html


def test_contradictory_times_are_neither_drawn_nor_cited(pair):
    busy = bench()
    busy["rows"][-1]["seconds"]["packed avx512 float ends"] = figure(0.02)  # the rounds' ratios still say 6
    busy["rows"][-1]["seconds"]["packed avx2 float ends"] = figure(0.03)
    Path("bench.json").write_text(json.dumps(busy))
    html = report(bench=Path("bench.json")).read_text()
    assert "Accuracy against CPU time" not in html
    assert "as fast on one CPU thread" not in html
    text = " ".join(re.sub(r"<[^>]+>", "", html).split())
    assert "6 × as fast by the median of the rounds' ratios, but 0.6 × by the ratio of the median times" in text


def test_without_measurements_the_page_says_which_commands_make_them(pair):
    html = report().read_text()
    assert "xnorlit pack runs/synthetic/pair-0/xnor/seed-0" in html
    assert "xnorlit bench runs/synthetic/pair-0/xnor/seed-0/packed.safetensors --json bench.json" in html
    assert "xnorlit report --bench bench.json" in html


@pytest.mark.parametrize("best", ["fp32", "fp32 channels_last", "torch.compile"])
def test_any_of_torchs_fp32_sides_may_be_its_best(tmp_path, best):
    given = bench()
    for row in given["rows"]:
        row["best_fp32"] = best
        row["seconds"][best] = figure(0.011)
    (tmp_path / "bench.json").write_text(json.dumps(given))
    assert {row["fp32_seconds"]["median"] for row in read_bench(tmp_path / "bench.json")["rows"]} == {0.011}


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"format": 1}', json.dumps(bench() | {"rows": [{}]}), json.dumps(bench() | {"memory": 3}),
     json.dumps(bench()).replace("0.012", "NaN"), json.dumps(bench()).replace("torch's best fp32", "x")],
)  # fmt: skip
def test_a_file_that_is_not_a_bench_is_refused(tmp_path, text):
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(UserError, match=r"bench\.json.* Measure again: xnorlit bench --json"):
        read_bench(tmp_path / "bench.json")


def packed(path: Path, document: str, name: str = "packed.safetensors") -> None:
    save_file({"x": np.zeros(10, np.uint8)}, path / name, {"xnorlit.packed": document})


def test_a_packed_file_is_listed_with_size_and_accuracy(tmp_path):
    path = write_run(tmp_path, "xnor")
    accuracy = {"top1": 0.64, "top5": 0.97, "images": 100, "listing_sha256": "0" * 64}
    packed(path, json.dumps({"accuracy": accuracy}))
    (found,) = packed_files(read(path))
    assert found["bytes"] == (path / "packed.safetensors").stat().st_size
    assert (found["ends"], found["accuracy"], found["problem"]) == ("float", accuracy, None)


@pytest.mark.parametrize(
    "document", ["", "null", "{}", '{"accuracy": {"top1": "high"}}', '{"accuracy": {"top1": NaN}}']
)
def test_a_damaged_packed_file_is_listed_with_the_reason(tmp_path, document):
    path = write_run(tmp_path, "xnor")
    packed(path, document)
    (found,) = packed_files(read(path))
    assert "it cannot be read" in found["problem"]
    (path / "packed.safetensors").write_bytes(b"x" * 20)
    assert "it cannot be read" in packed_files(read(path))[0]["problem"]
