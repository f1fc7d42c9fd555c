"""`xnorlit report` writes one self-contained page whose numbers are those of the run directories."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.report.html.numbers import Page
from tests.runs.factory import BINARY_PACKED_BITS, PACKED_BITS, PARAMETERS, write_run
from xnorlit.commands.main import COMMANDS
from xnorlit.commands.report import report
from xnorlit.errors import UserError
from xnorlit.runs import Predictions


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Three seeds of two arms under ./runs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for seed in range(3):
        write_run(Path("runs"), "xnor", seed, right=rng.random(1000) < 0.65)
        write_run(Path("runs"), "float", seed, right=rng.random(1000) < 0.8)
    return tmp_path


def page_of(*words, **options) -> Page:
    return Page.of(report(words, **options).read_text())


def test_the_verdict_says_the_gap_its_interval_and_the_size(pair):
    html = report().read_text()
    verdict = re.search(r'<section class="verdict".*?</section>', html, re.DOTALL)[0]
    text = " ".join(re.sub(r"<[^>]+>", "", verdict).split())
    gap = json.loads(re.search(r'id="record">(.*?)</script>', html)[1])["comparison"]["gaps"][0]
    both = gap["top1"]["over_both"]
    assert text.startswith(f"xnor loses {gap['top1']['points']:.2f} points of top-1 accuracy to float (95 % interval ")
    assert f"[{both['low']:.2f}, {both['high']:.2f}]" in text
    assert f"Its weights are {32 * PARAMETERS / PACKED_BITS:.3g} × smaller" in text
    assert BINARY_PACKED_BITS < PACKED_BITS


def test_confusions_are_compared_over_the_seeds_that_both_arms_have(pair):
    shutil.copytree("runs/synthetic/pair-0/float/seed-1", "runs/synthetic/pair-0/bwn/seed-1")
    changes = page_of().record["confusions"]["changes"]
    assert [(change["pairs"] == [], change["arm"]) for change in changes] == [(True, "bwn"), (False, "xnor")]


@pytest.mark.parametrize(
    ("folder", "runs", "page"),
    [
        (".", ("xnor/seed-0", "float/seed-0"), "report.html"),
        ("xnor", ("seed-0", "seed-1"), "../report.html"),
        ("xnor/seed-0", (".", "../../float/seed-0"), "../../report.html"),
        ("xnor/seed-0", ("../seed-1", "../../float/seed-1"), "../../report.html"),
    ],
)
def test_the_page_lies_in_the_pairs_folder_wherever_the_command_runs(pair, monkeypatch, folder, runs, page):
    monkeypatch.chdir(Path("runs/synthetic/pair-0") / folder)
    assert report(runs) == Path(page)
    assert (pair / "runs/synthetic/pair-0/report.html").is_file()


def test_photographs_in_the_home_folder_are_looked_for_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for arm in ("xnor", "float"):
        write_run(Path("runs"), arm, config={"data.source": "~/photos"})
    assert f"(searched: {tmp_path / 'me' / 'photos'})" in page_of().record["pictures"]["why_not"]


def test_the_page_of_copied_runs_lies_here(pair, monkeypatch):
    (pair / "here").mkdir()
    for arm in ("xnor", "float"):
        shutil.copytree(f"runs/synthetic/pair-0/{arm}/seed-0", pair / "here" / arm[0])
    monkeypatch.chdir(pair / "here")
    assert report(("x", "f")) == Path("report.html")
    monkeypatch.chdir(pair)
    assert report(("here/x", "here/f")) == Path("report.html")


def test_the_first_screen_decides_before_any_prose(pair):
    """Verdict, four figures and two charts come first; what explains the sections is folded, and printed open."""
    html = report().read_text()
    first = html[html.index('<main id="main">') : html.index("<h2")]
    assert first.index('class="verdict"') < first.index('<dl class="figures') < first.index("<svg")
    assert re.findall(r"<dt>(.*?)</dt>", first) == [
        "Top-1 accuracy", "Memory of the weights", "CPU time per image", "Seeds and images",
    ]  # fmt: skip
    assert re.findall(r"<title>(Accuracy.*?)</title>", first) == ["Accuracy with intervals", "Accuracy against memory"]
    assert "<details" not in first
    folds = re.findall(r'<details class="print fold"><summary>How to read this<span class="heard">: (.*?)<', html)
    assert len(folds) == len(set(folds)) >= 8
    prose = re.sub(r"<details.*?</details>", "", html[html.index("<h2") :], flags=re.DOTALL)
    assert [text for text in re.findall(r"<p>(.*?)</p>", prose, re.DOTALL) if len(text.split()) > 60] == []
    assert "details.print::details-content" in html
    assert 'querySelectorAll("details.print")' in html


def test_two_seeds_are_not_proof_of_no_difference(tmp_path, monkeypatch):
    """Each seed's gap is certain, but two such different gaps say little about a third (Student's t, one degree)."""
    monkeypatch.chdir(tmp_path)
    for seed, right in enumerate((600, 700)):
        write_run(Path("runs"), "xnor", seed, right=right)
        write_run(Path("runs"), "float", seed, right=800)
    html = report().read_text()
    text = " ".join(re.sub(r"<[^>]+>", "", html[html.index('aria-label="Verdict"') :]).split())
    assert "xnor loses 15.00 points of top-1 accuracy to float (95 % interval over images [" in text
    assert "This is about these 2 trained pairs only. Too few seeds were trained to predict another pair" in text


def test_an_arm_with_fewer_seeds_is_compared_over_the_shared_ones(pair):
    write_run(Path("runs"), "bwn", 1, right=700)
    html = report().read_text()
    text = " ".join(
        re.sub(r"<[^>]+>", "", html[html.index('aria-label="Verdict"') : html.index("What differs</h2>")]).split()
    )
    assert "], over the 1 seed that both have)" in text


def test_printed_commands_are_valid_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arm in ("xnor", "float"):
        write_run(Path("runs"), arm, environment={"command": f"__main__.py fit -c {arm}.yaml --seed_everything 0"})
    html = report().read_text()
    commands = re.sub(r"<[^>]+>", "", re.search(r"<pre.*?</pre>", html, re.DOTALL)[0]).splitlines()
    assert commands == [
        f"git checkout {'a' * 40}",
        *(f"xnorlit fit -c {arm}.yaml --seed_everything 0" for arm in ("xnor", "float")),
        "xnorlit report",
    ]
    assert '<span class="word">--seed_everything</span>' in html  # never broken behind its hyphens


def test_the_page_is_self_contained_and_small(pair):
    path = report()
    html = path.read_text()
    assert path == Path("runs/synthetic/pair-0/report.html")
    assert path.stat().st_size < 3 * 2**20
    # Nothing is fetched: no address, no file; pictures are inside.
    loads = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", html)
    assert [target for target in loads if not target.startswith(("#", "data:image/"))] == []
    assert "://" not in html
    assert "@import" not in html


def test_the_page_can_be_heard_and_used_by_keyboard(pair):
    page = page_of()
    tags = [tag for tag, *_ in page.elements]
    assert page.unclosed == []
    assert tags.count("h1") == tags.count("main") == 1
    assert ("html", {"lang": "en"}, 0) in page.elements
    assert tags.count("table") == tags.count("caption") == tags.count("thead") > 5
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes, _ in page.elements if tag == "th")
    charts = [attributes for tag, attributes, _ in page.elements if tag == "svg"]
    assert len(charts) >= 4
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert tags.count("title") >= 1 + len(charts)
    assert tags.count("desc") == len(charts)
    assert all("tabindex" in chart for chart in charts if "data-chart" in chart)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"][1:] for tag, attributes, _ in page.elements if tag == "a"]
    assert set(links) <= set(ids)


def test_names_from_files_cannot_write_html(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    names = (evil, *"abcdefghi")
    for arm in ("xnor", "float"):
        write_run(Path("runs"), arm, classes=names, config={"trainer.precision": evil}, environment={"cpu": evil})
    html = report().read_text()
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert Page.of(html).record["classes"][0] == evil


def test_a_pair_is_named_in_several_ways(pair):
    for words in (["synthetic/pair-0"], ["pair-0"], ["runs/synthetic/pair-0"], []):
        assert page_of(*words).record["comparison"]["pair"] == "pair-0"
    seeds = [f"runs/synthetic/pair-0/{arm}/seed-1" for arm in ("xnor", "float")]
    report(seeds, out=Path("two.html"))
    assert [len(arm["seeds"]) for arm in Page.of(Path("two.html").read_text()).record["comparison"]["arms"]] == [1, 1]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["synthetic/pair-9"], r"has no pair named pair-9\. Did you mean pair-0"),
        (["runs/synthetic/pair-0/xnor/seed-0"], "one run was given: .* Expected two or more, or a pair"),
        (["--bench", "none.json"], r"none\.json cannot be read: No such file"),
        (["--data", "none"], "none is not a folder"),
        (["--out", "runs"], "runs is a folder. Expected a file"),
        (["--out", "mine.html"], r"mine\.html exists and is not a page of xnorlit report, so it is not overwritten"),
        (["--ot", "x"], r"xnorlit report has no option --ot\. Did you mean --out\?"),
    ],
)
def test_impossible_requests_are_refused_and_write_nothing(pair, words, complaint):
    Path("mine.html").write_text("my own page")
    with pytest.raises(UserError, match=complaint):
        COMMANDS["report"].run("report", words)
    assert not Path("runs/synthetic/pair-0/report.html").exists()
    assert Path("mine.html").read_text() == "my own page"


def test_an_earlier_page_survives_a_broken_pair(pair):
    path = report()
    before = path.read_bytes()
    write_run(Path("runs"), "bwn", 0, metadata={"listing_sha256": "f" * 64})
    with pytest.raises(UserError, match="were evaluated on different images"):
        report()
    assert path.read_bytes() == before


def test_the_files_of_a_run_are_read_once(pair, monkeypatch):
    opened: list[str] = []
    load = Predictions.load

    def counted(file):
        opened.append(str(file))
        return load(file)

    monkeypatch.setattr(Predictions, "load", staticmethod(counted))
    report()
    assert len(opened) == len(set(opened)) == 6


def test_a_missing_arm_exits_with_status_two(tmp_path):
    write_run(tmp_path / "runs", "xnor")
    done = subprocess.run(
        [sys.executable, "-m", "xnorlit", "report"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert "has no pair to compare" in done.stderr
    assert list(tmp_path.rglob("*.html")) == []


def test_broken_runs_and_nan_losses_are_words_on_the_page(pair):
    write_run(Path("runs"), "xnor", 7, finished=False)
    (write_run(Path("runs"), "float", 8) / "summary.json").write_text("{")
    metrics = Path("runs/synthetic/pair-0/xnor/seed-0/metrics.csv")
    metrics.write_text(metrics.read_text().replace("1.4,", "nan,"))
    page = page_of()
    notes = " ".join(page.record["comparison"]["notes"])
    assert "xnor/seed-7 is not finished" in notes
    assert "float/seed-8/summary.json is damaged" in notes
    assert "val/loss is NaN from step 199" in notes
    assert page.record["curves"]["metrics"]["val/loss"]["xnor"]["mean"]["value"][-1] is None


@pytest.mark.parametrize(
    ("left", "note"),
    [
        (None, r"metrics\.csv cannot be read: No such file or directory\. Its curves are missing"),
        ("epoch,step,val/top1\n0,99,0.3\n1,1x\n", r"metrics\.csv, line 3: expected a step and numbers"),
        ("epoch,step,val/top1\n0,99,0.3\n", r"metrics\.csv is incomplete: it and the curves end in epoch 1 of 2"),
    ],
)
def test_a_run_with_lost_curves_is_compared_with_a_note(tmp_path, monkeypatch, left, note):
    monkeypatch.chdir(tmp_path)
    paths = [write_run(Path("runs"), arm) for arm in ("xnor", "float")]
    (paths[0] / "metrics.csv").unlink()
    if left:
        (paths[0] / "metrics.csv").write_text(left)
    record = page_of().record
    assert re.search(note, " ".join(record["comparison"]["notes"]))
    assert record["comparison"]["arms"][0]["top1_percent"]["mean"] == 70


def test_empty_predictions_and_other_classes_are_refused_with_a_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs"), "xnor")
    write_run(Path("runs"), "float", classes=tuple("abcdefghij"))
    with pytest.raises(UserError, match="on different classes"):
        report()
    shutil.rmtree("runs/synthetic/pair-0/float")
    write_run(Path("runs"), "float", images=0, right=0)
    with pytest.raises(UserError, match=r"(?s)has no pair to compare.*contains no predictions"):
        report()
    assert not Path("runs/synthetic/pair-0/report.html").exists()


@pytest.mark.slow
def test_three_seeds_of_50_000_images_take_under_a_gibibyte(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(3):
        for arm, share in (("xnor", 0.6), ("float", 0.66)):
            write_run(tmp_path / "runs", arm, seed, images=50_000, right=rng.random(50_000) < share)
    code = (
        # Not getrusage: its maximum begins with the memory of the process that started this one.
        "from xnorlit.commands.report import report\nreport()\n"
        "print(next(int(line.split()[1]) for line in open('/proc/self/status') if 'VmHWM' in line) / 2**20)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert float(done.stdout.split()[-1]) < 1
