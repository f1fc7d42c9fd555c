"""The server gets the page's comparison, panel by panel. A second call updates it in place."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.wandb.backend import Backend
from tests.report.wandb.conftest import IDS, logged_in, receive_pair, write_pair
from xnorlit.comparison.compare import compare
from xnorlit.errors import UserError
from xnorlit.report.html.record import record
from xnorlit.report.wandb.figures import Figures, figures
from xnorlit.report.wandb.publish import Published, publish
from xnorlit.report.wandb.report import is_marked, mark
from xnorlit.report.wandb.settings import Settings

FILE = Path(__file__).parents[3] / "experiments" / "dashboard.yaml"
SETTINGS = Settings.load(FILE)
OWN = Figures("synthetic/pair-0", [], {}).id


def published(settings: Settings = SETTINGS) -> Published:
    comparison = compare()
    return publish(comparison, record(comparison), settings)


def panels(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a report's spec, or of a view's, without their texts."""
    if "blocks" in spec:
        grids = [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]
        return [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    sections = spec["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"] if panel["viewType"] != "Markdown Panel"]


def run_ids(runset: dict[str, Any]) -> list[str]:
    (chosen,) = runset["filters"]["filters"]
    assert (chosen["key"], chosen["op"]) == ({"section": "run", "name": "name"}, "IN")
    return chosen["value"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Iterator[Backend]:
    """The server after one call; tests only read it."""
    with pytest.MonkeyPatch.context() as monkeypatch, logged_in(monkeypatch) as backend:
        write_pair(tmp_path_factory.mktemp("saved"), monkeypatch)
        receive_pair(backend)
        published()
        yield backend


@pytest.fixture
def figured(uploaded: Backend) -> Backend:
    """The server has the pair's own run, too, so that a call uploads nothing."""
    contents = figures(record(compare())).contents
    uploaded.runs[OWN] = {"history": [], "summary": {}, "config": json.dumps({"contents": {"value": contents}})}
    return uploaded


def test_the_report_has_the_sections_of_the_settings(saved):
    (report,) = saved.reports()
    assert report["description"] == "Written by xnorlit dashboard for synthetic/pair-0. The next call replaces it."
    assert report["displayName"] == "What binarising costs: synthetic/pair-0"
    assert (report["entityName"], report["projectName"]) == ("me", "xnorlit")
    heads = [block["children"][0]["text"] for block in report["spec"]["blocks"] if block["type"] == "heading"]
    assert heads == [section.title for section in SETTINGS.sections]
    texts = [block["content"] for block in report["spec"]["blocks"] if block["type"] == "markdown-block"]
    assert len(texts) == sum(len(section.text) for section in SETTINGS.sections)
    (view,) = saved.workspaces()
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == heads
    shown = [
        panel["config"]["value"] for section in sections for panel in section["panels"] if "value" in panel["config"]
    ]
    assert shown == texts


def test_report_and_view_have_the_panels_of_the_settings(saved):
    for spec in (saved.reports()[0]["spec"], saved.workspaces()[0]["spec"]):
        found = {panel["config"]["chartTitle"]: panel for panel in panels(spec)}
        wanted = [panel for section in SETTINGS.sections for panel in section.panels if panel.bars != "image"]
        assert list(found) == [panel.title for panel in wanted]  # without a bench there is no time of an image
        for panel in wanted:
            config = found[panel.title]["config"]
            if panel.curve:
                assert config["metrics"] == [panel.curve]
                assert (config["groupAgg"], config["groupArea"]) == ("mean", "minmax")
            elif panel.bars:
                assert config["metrics"] == [f"{panel.bars}/xnor", f"{panel.bars}/float"]
            else:
                assert config["metrics"] == ["gap/xnor", "gap/xnor/least", "gap/xnor/most"]
                assert list(config["overrideMarks"].values()) == ["solid", "dotted", "dotted"]
            if not panel.bars:
                assert config["xAxis"] == "epoch"


def test_an_arm_has_its_colour_in_every_panel(saved):
    xnor, float_ = SETTINGS.colours["xnor"], SETTINGS.colours["float"]
    of_runs = {run: xnor if arm == "xnor" else float_ for (arm, _), run in IDS.items()}
    grid = next(b["metadata"] for b in saved.reports()[0]["spec"]["blocks"] if b["type"] == "panel-grid")
    group = f"{grid['runSets'][0]['id']}-config:pair_id.value:synthetic/pair-0-config:arm.value:"
    assert grid["customRunColors"] == {**of_runs, f"{group}xnor": xnor, f"{group}float": float_}
    section = saved.workspaces()[0]["spec"]["section"]
    assert section["customRunColors"].items() >= of_runs.items()
    assert sorted(set(section["customRunColors"].values())) == sorted({xnor, float_})
    for spec in (saved.reports()[0]["spec"], saved.workspaces()[0]["spec"]):
        for panel in panels(spec):
            for line, colour in panel["config"].get("overrideColors", {}).items():
                run, _, metric = line.partition(":")
                assert run == OWN
                assert colour["color"] == (float_ if metric.endswith("/float") else xnor)


def test_the_curves_are_of_the_runs_compared_and_no_others_by_pair_and_arm(saved):
    first, second, *_ = [b["metadata"] for b in saved.reports()[0]["spec"]["blocks"] if b["type"] == "panel-grid"]
    by = [{"section": "config", "name": "pair_id.value"}, {"section": "config", "name": "arm.value"}]
    assert first["runSets"][0]["grouping"] == by
    assert sorted(run_ids(first["runSets"][0])) == sorted(IDS.values())
    assert run_ids(second["runSets"][0]) == [OWN]
    assert first["runSets"][0]["project"] == {"name": "xnorlit", "entityName": "me", "id": "17"}
    (runset,) = saved.workspaces()[0]["spec"]["section"]["runSets"]
    assert runset["grouping"] == by
    assert sorted(run_ids(runset)) == sorted([*IDS.values(), OWN])


def test_the_pairs_own_run_holds_the_records_gap_and_sizes(saved):
    wanted = figures(record(compare()))
    run = saved.runs[OWN]
    assert (run["jobType"], run["groupName"], run["displayName"]) == (
        "comparison", "synthetic/pair-0", "synthetic/pair-0/comparison"
    )  # fmt: skip
    assert [{key: row[key] for key in row if not key.startswith("_")} for row in run["history"]] == wanted.rows
    assert {key: run["summary"][key] for key in wanted.bars} == wanted.bars
    assert json.loads(run["config"])["contents"]["value"] == wanted.contents
    assert "Not a training" in run["notes"]


def test_a_second_call_updates_in_place_and_uploads_nothing_twice(uploaded):
    published()
    before = {key: view["name"] for key, view in uploaded.views.items()}
    uploaded.asked.clear()
    published(Settings(**{**vars(SETTINGS), "title": "Another title of {pair}"}))
    assert (len(uploaded.reports()), len(uploaded.workspaces()), set(uploaded.views)) == (1, 1, set(before))
    assert {view["displayName"] for view in uploaded.views.values()} == {"Another title of synthetic/pair-0"}
    assert uploaded.workspaces()[0]["name"] in before.values()
    assert not [path for path, _ in uploaded.asked if "file_stream" in path]

    # The figures of a changed pair replace the former ones.
    summary = Path("runs/synthetic/pair-0/xnor/seed-0/summary.json")
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "step_seconds": 0.041}))
    published()
    assert [run for run in uploaded.runs if run not in IDS.values()] == [OWN]
    assert uploaded.runs[OWN]["summary"]["step/xnor"] == pytest.approx(31)
    assert len(uploaded.runs[OWN]["history"]) == 2
    assert "31.0 ms" in json.dumps(uploaded.reports()[0]["spec"])


def test_a_report_that_an_earlier_version_wrote_is_found_again(figured):
    published()
    figured.reports()[0]["description"] = (
        "Written by xnorlit dashboard for synthetic/pair-0. The next call writes over it."
    )
    published()
    assert len(figured.reports()) == 1
    assert not is_marked(mark("synthetic/pair-0.1"), "synthetic/pair-0")
    assert not is_marked(None, "synthetic/pair-0")


def test_other_reports_stay_unchanged_and_the_addresses_are_ours(figured):
    other = {"type": "runs", "name": "a", "displayName": "Mine", "description": "By hand.", "spec": "{}", "id": "Mine"}
    figured.views["Mine"] = dict(other)
    done = published()
    assert figured.views["Mine"] == other
    assert done.missing == ()
    (_, report), (view,) = figured.reports(), figured.workspaces()
    assert re.fullmatch(rf"{figured.address}/me/xnorlit/reports/[A-Za-z0-9-]+--{report['id']}", done.report)
    assert done.view == f"{figured.address}/me/xnorlit?nw={view['name'].removeprefix('nw-').removesuffix('-v')}"


def test_runs_that_the_server_lacks_are_named_and_the_others_shown(figured):
    del figured.runs["xnor1"]
    assert published().missing == ("xnor/seed-1",)
    grid = next(b["metadata"] for b in figured.reports()[0]["spec"]["blocks"] if b["type"] == "panel-grid")
    assert sorted(run_ids(grid["runSets"][0])) == ["float0", "float1", "xnor0"]


def test_a_pair_without_runs_on_the_server_is_not_shown(server, pair):
    with pytest.raises(UserError, match=r"no run of this pair in the project me/xnorlit\. Upload them: xnorlit sync"):
        published()  # the project does not exist
    server.runs["other"] = {"history": [], "summary": {}}
    with pytest.raises(UserError, match=r"no run of this pair in the project me/xnorlit\. Upload them: xnorlit sync"):
        published()
    assert (server.views, list(server.runs)) == ({}, ["other"])


def test_a_refused_key_and_a_lost_connection_are_reported(figured):
    figured.refuses = lambda path, body: 401
    with pytest.raises(
        UserError, match=r"Nothing was sent to W&B: the server refuses the key: .* Run wandb login --relogin"
    ):
        published()
    figured.refuses = lambda path, body: 401 if "upsertView" in body else None
    with pytest.raises(UserError, match=r"dashboard was not written: the server refuses the key"):
        published()
    assert figured.views == {}


def test_no_file_of_the_runs_is_changed_or_added(uploaded):
    before = {file: file.read_bytes() for file in Path("runs").rglob("*") if file.is_file()}
    published()
    assert {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()} == before


def test_a_title_too_long_for_the_server_is_refused_first(uploaded):
    with pytest.raises(UserError, match=r"title has 216 characters, but W&B allows 128"):
        published(Settings(**{**vars(SETTINGS), "title": "x" * 200 + "{pair}"}))
    assert uploaded.asked == []
