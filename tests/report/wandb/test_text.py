"""The text blocks print only figures of the comparison; names in them are not treated as markup."""

import re
from dataclasses import replace

import pytest

from tests.report.html.numbers import Page
from tests.runs.factory import write_run
from xnorlit.commands.report import report
from xnorlit.comparison.compare import compare
from xnorlit.comparison.comparison import Comparison
from xnorlit.comparison.statistics import Interval
from xnorlit.report.wandb.settings import TEXTS
from xnorlit.report.wandb.text import text


@pytest.fixture
def comparison(pair) -> Comparison:
    return compare()


def cells(markdown: str) -> dict[str, list[str]]:
    """A table's rows by their first cell."""
    lines = [line[1:-1].replace("\\", "") for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_the_table_is_the_one_that_compare_prints(comparison, capsys):
    from xnorlit.commands.compare import compare

    compare([])
    printed = capsys.readouterr().out
    rows = cells(text("comparison", comparison))
    assert rows["top-1 %"][:2] == [
        f"{arm.top1_percent.mean:.2f} ± {arm.top1_percent.spread:.2f}" for arm in comparison.arms
    ]
    for name, values in rows.items():
        if name in ("---", ""):
            continue
        (line,) = [line for line in printed.splitlines() if re.match(rf"\s+{re.escape(name)}\s\s", line)]
        assert re.sub(r"\s+", " ", line).strip() == " ".join([name, *filter(None, values)])


def test_every_figure_of_the_verdict_and_of_the_paper_stands_on_the_page(comparison):
    page = Page.of(report().read_text())
    on_page = {re.sub(r"[ %×]", "", shown) for _, _, shown in page.numbers}
    for kind in ("verdict", "paper"):
        words = re.sub(r"pair-\d|XNOR-Net.*", "", text(kind, comparison).replace("95 %", ""))
        found = re.findall(r"−?\d[\d,]*\.\d+|\d{1,3},\d{3}", words)
        assert len(found) >= 6
        assert set(found) - on_page == set()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.0, 2.0, "loses 1.50 points of top-1 accuracy to"),
        (-2.0, -1.0, "gains"),
        (-1.0, 2.0, "cannot be distinguished"),
    ],
)
def test_the_widest_interval_decides_the_verdict(comparison, low, high, said):
    gap = comparison.gaps[0]
    images = Interval(low / 2, high / 2, "images")  # also one that holds 0 where the wider one does
    top1 = replace(gap.top1, points=1.5, over_both=Interval(low, high, "both"), over_images=images)
    shown = text("verdict", replace(comparison, gaps=(replace(gap, top1=top1),)))
    assert f"**xnor** {said}" in shown.replace("(a gap of 1.50 points of top-1 accuracy) ", "")
    assert f"[{low:.2f}, {high:.2f}]".replace("-", "−") in shown


def test_the_verdict_says_where_too_few_seeds_were_trained_for_the_widest_interval(comparison):
    gap = comparison.gaps[0]
    top1 = replace(gap.top1, over_both=Interval(-9, 9, "both"), over_images=Interval(1, 2, "images"))
    shown = text("verdict", replace(comparison, gaps=(replace(gap, top1=top1),)))
    assert "**xnor** loses" in shown
    assert "(95 % interval over images [1.00, 2.00]" in shown


def test_the_accuracies_beside_a_gap_are_over_its_seeds(tmp_path):
    for seed, right in enumerate((700, 500, 500)):
        write_run(tmp_path, "float", seed, right=right)
        write_run(tmp_path, "xnor", seed, right=right - 50)
    write_run(tmp_path, "bwn", 0, right=600)
    said = text("verdict", compare("synthetic/pair-0", root=tmp_path))
    assert "60.00 % against 70.00 %, over the 1 seed that both have)" in said
    assert "51.67 % against 56.67 %)" in said


def test_names_from_files_are_no_markup(tmp_path):
    arm = "x|n*o_r"
    for name, right in ((arm, 650), ("float", 800)):
        folder = write_run(tmp_path, "xnor" if name == arm else "float", right=right)
        folder.parent.rename(folder.parent.with_name(name))
    comparison = compare(root=tmp_path)
    assert r"x\|n\*o\_r" in text("verdict", comparison)
    for kind in TEXTS:
        assert arm not in text(kind, comparison)
        tables = [line for line in text(kind, comparison).splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) <= 1


def test_a_comparison_without_notes_says_so(comparison):
    assert text("notes", replace(comparison, notes=())) == "- There are no notes on these figures."
    assert text("notes", replace(comparison, notes=("First.", "Second."))) == "- First.\n- Second."


def test_what_differs_is_listed_key_by_key(tmp_path):
    write_run(tmp_path, "xnor", right=650, config={"model.optimizer.init_args.lr": 0.01})
    write_run(tmp_path, "float", right=800)
    rows = cells(text("differences", compare(root=tmp_path)))
    assert rows["model.optimizer.init_args.lr"] == ["0.01", "0.003", "not declared"]
    assert rows["model.binarizer"][:2] == ["XNOR", "Float"]
