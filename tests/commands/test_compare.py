"""Output of `xnorlit compare`: the difference first, every number, and readable in a pipe or a narrow terminal."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.factory import write_run
from xnorlit.commands.compare import compare
from xnorlit.commands.main import COMMANDS
from xnorlit.errors import UserError

LR = "model.optimizer.init_args.lr"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """The two runs of one pair under ./runs, and 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    root = Path("runs")
    return write_run(root, "xnor", right=650), write_run(root, "float", right=800)


def xnorlit(*words: str) -> None:
    """The command as the command line calls it."""
    COMMANDS["compare"].run("compare", words)


def printed(capsys, *args, **options) -> str:
    compare(*args, **options)
    return capsys.readouterr().out


def test_the_newest_pair_is_printed_with_the_difference_first(pair, capsys):
    lines = printed(capsys).splitlines()
    heading = " ".join(lines[:2])
    assert heading == (
        "synthetic/pair-0 · matched: only model.binarizer differs · "
        "synthetic images (generated, not photographs) · seed 0 · 1,000 images"
    )
    assert [line.split() for line in lines[2:4]] == [
        ["differs", "in", "xnor", "float"],
        ["model.binarizer", "XNOR", "Float"],
    ]
    rows = {line[:18].strip(): line[18:].split() for line in lines[4:] if line}
    assert rows["top-1 %"][:3] == ["65.00", "80.00", "15.00"]
    assert "McNemar p" in rows
    assert rows["training time"] == ["4", "min", "12", "s", "4", "min", "0", "s", "1.05", "x", "as", "long"]
    assert rows["one step"] == ["21.0", "ms", "20.0", "ms", "1.05", "x", "as", "long"]
    assert rows["parameters"] == ["1,472,650", "1,472,650"]
    assert rows["binary"] == ["1,458,688", "0"]
    assert rows["binary weights"] == ["1.08", "bit", "32", "bit", "29.7", "x", "smaller"]
    assert rows["network, trained"] == ["5.62", "MiB", "5.62", "MiB"]
    assert rows["network, packed"] == ["0.212", "MiB", "5.62", "MiB", "26.5", "x", "smaller"]
    text = " ".join(lines)
    assert "(published, not measured here), top-1 / top-5 %: 43.112 / 70.341 against 54.623 / 78.854" in text
    assert "the paper quotes, but did not measure: 32 x less memory for the weights and 58 x faster" in text


def test_an_unmatched_pair_shows_both_values_of_each_key(pair, capsys):
    twin = write_run(Path("runs"), "float", 1, right=800, config={LR: 0.001, "data.flip": False})
    text = printed(capsys, [write_run(Path("runs"), "xnor", 1), twin])
    assert text.startswith(f"synthetic/pair-0 · not matched: data.flip and {LR}\ndiffer too")
    assert re.search(rf"  {re.escape(LR)} +0\.003 +0\.001 +not declared", text)
    assert re.search(r"  data\.flip +\(not set\) +false +not declared", text)


def test_settings_of_one_binarizer_are_shown_one_by_one(pair, capsys):
    other = {"class_path": "xnorlit.binarize.XNOR", "init_args": {"gradient": "ste", "input_scale": False}}
    second = write_run(Path("runs"), "xnor", pair="pair-1", config={"model.binarizer": other})
    text = printed(capsys, [pair[0], second])
    assert re.search(r"  model\.binarizer\.init_args\.gradient +ste +corrected", text)


def test_real_images_are_named_by_their_source(pair, capsys):
    paths = [
        write_run(Path("runs"), arm, experiment="cifar10", metadata={"source": "/data/cifar10-12k"})
        for arm in ("xnor", "float")
    ]
    text = printed(capsys, paths)
    assert "synthetic" not in text
    assert "· cifar10-12k ·" in text.replace("\n", " ")


def test_seeds_are_shown_with_their_spread_and_both_intervals(pair, capsys):
    write_run(Path("runs"), "xnor", 1, right=670)
    write_run(Path("runs"), "float", 1, right=800)
    text = printed(capsys)
    assert "seeds 0, 1" in text
    assert re.search(r"top-1 % +66\.00 ± 1\.41 +80\.00 ± 0\.00 +14\.00 ± 1\.41 \[1", text)
    assert re.search(r"over seeds +\[1\.29, 26\.71\]", text)
    assert "± is the standard deviation over 2 seeds" in text.replace("\n", " ")


def test_top_5_of_five_classes_is_not_shown(pair, capsys):
    five = tuple("abcde")
    paths = [write_run(Path("runs"), arm, pair="few", classes=five) for arm in ("xnor", "float")]
    assert not re.search(r"^ *top-5 %", printed(capsys, paths), re.M)


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("arms", [2, 3])
def test_no_line_is_wider_than_the_screen(pair, capsys, monkeypatch, columns, arms):
    if arms == 3:
        write_run(Path("runs"), "bwn", right=740)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(capsys).splitlines()
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if line.endswith(" ")]


def test_three_arms_show_their_gaps_below_their_accuracies(pair, capsys):
    write_run(Path("runs"), "bwn", right=740)
    lines = printed(capsys).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  top-1 %"))
    assert lines[at].split() == ["top-1", "%", "74.00", "65.00", "80.00"]
    assert lines[at + 1].split() == ["to", "float", "6.00", "15.00"]


def test_json_says_the_same_and_its_fields_are_stable(pair, capsys):
    record = json.loads(printed(capsys, json=True))
    assert record["schema"] == 1
    assert record["matched"] is True
    assert record["gaps"][0]["difference"]["verdict"] == "matched: only model.binarizer differs"
    assert record["gaps"][0]["top1"]["points"] == pytest.approx(15)
    assert record["published"]["binary_top1"] == 43.112

    def fields(value, at=""):
        if isinstance(value, dict):
            return {path for key, child in value.items() for path in fields(child, f"{at}.{key}")}
        if isinstance(value, list):
            return {path for child in value for path in fields(child, f"{at}[]")} or {at}
        return {at}

    expected = Path(__file__).with_name("comparison_fields.txt").read_text().split()
    assert sorted(fields(record)) == expected, "a field was renamed or removed: raise SCHEMA, then mend the list"


def test_one_run_is_refused_and_a_search_takes_no_paths(pair):
    with pytest.raises(UserError, match="one run was given"):
        compare([pair[0]])
    with pytest.raises(UserError, match="together with --experiment or --pair"):
        compare(pair, pair="pair-0")


def test_the_arguments_of_a_command_line_reach_the_comparison(pair, capsys):
    xnorlit()
    newest = capsys.readouterr().out
    xnorlit(*map(str, pair))
    assert capsys.readouterr().out == newest
    xnorlit("--json", "--experiment", "synthetic", "--pair", "pair-0", "--root", "runs")
    assert json.loads(capsys.readouterr().out)["matched"] is True
    with pytest.raises(UserError, match=r"xnorlit compare has no option --jsn\. Did you mean --json\?"):
        xnorlit("--jsn")
    xnorlit("--help")
    assert "RUN" in capsys.readouterr().out


def test_a_run_left_out_is_noted(pair, capsys):
    write_run(Path("runs"), "xnor", 7)
    assert "note: runs/synthetic/pair-0/xnor/seed-7 is left out" in printed(capsys).replace("\n", " ")


def run(folder: Path, code: str = "compare()", **environment: str) -> subprocess.CompletedProcess:
    script = f"from xnorlit.commands.compare import compare\n{code}"
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run([sys.executable, "-c", script], cwd=folder, env=variables, capture_output=True, check=True)


def test_a_pipe_gets_neither_colours_nor_control_characters(pair, tmp_path):
    write_run(tmp_path / "runs", "xnor", 1, config={"trainer.precision": "\x1b[31mred\x07"})
    write_run(tmp_path / "runs", "float", 1)
    code = "compare(['runs/synthetic/pair-0/xnor/seed-1', 'runs/synthetic/pair-0/float/seed-1'])"
    text = run(tmp_path, code, PYTHONIOENCODING="utf-8").stdout.decode()
    assert "red" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_an_ascii_stream_gets_ascii(pair, tmp_path):
    done = run(tmp_path, PYTHONIOENCODING="ascii")
    assert "synthetic/pair-0 - matched" in done.stdout.decode("ascii")


def test_colours_appear_on_demand_and_no_color_wins(pair, tmp_path):
    assert b";32m" in run(tmp_path, FORCE_COLOR="1", TERM="xterm-256color").stdout
    plain = run(tmp_path, FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color").stdout
    assert b"\x1b[3" not in plain


@pytest.mark.slow
def test_three_seeds_of_50_000_images_take_under_a_gibibyte(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "runs", "xnor", seed, images=50_000, right=30_000)
        write_run(tmp_path / "runs", "float", seed, images=50_000, right=33_000)
    code = "import resource\ncompare()\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    assert float(run(tmp_path, code).stdout.split()[-1]) < 1
