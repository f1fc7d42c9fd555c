"""Values are checked before use. A message names the place, the found value and the expected one."""

import json
import math

import pytest

from xnorlit.edge.fields import FieldError, Fields, read_json
from xnorlit.errors import UserError


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda f: f.integer("missing"), "a.missing: missing"),
        (lambda f: f.integer("number"), "a.number: expected a whole number of at least 0, found 0.5"),
        (lambda f: f.integer("flag"), "a.flag: expected a whole number of at least 0, found True"),
        (lambda f: f.number("text"), "a.text: expected a number, found 'x'"),
        (lambda f: f.number("number", 1, 2), "a.number: expected a number of 1 to 2, found 0.5"),
        (lambda f: f.number("nan"), "a.nan: expected a number, found nan"),
        (lambda f: f.number("huge"), "a.huge: expected a number, found 1000"),
        (lambda f: f.fraction("huge"), "a.huge: expected a number of 0 to 1, found 1000"),
        (lambda f: f.numbers("all huge", 1, 0, math.inf), "a.all huge[0]: expected a number of at least 0, found 1000"),
        (lambda f: f.fraction("whole"), "a.whole: expected a number of 0 to 1, found 3"),
        (lambda f: f.flag("whole"), "a.whole: expected true or false, found 3"),
        (lambda f: f.text("blank", blank=False), "a.blank: expected text, found ' '"),
        (lambda f: f.text("half"), "a.half: expected text"),
        (lambda f: f.choice("text", ["xy", "z"]), "a.text: expected one of xy, z, found 'x'"),
        (lambda f: f.objects("list"), "a.list[0]: expected an object, found 1"),
        (lambda f: f.object("list"), "a.list: expected an object, found [1, None]"),
        (lambda f: f.integers("list", 3), "a.list: expected a list of 3, found [1, None]"),
        (lambda f: f.moment("text"), "a.text: expected a date and time such as 2026-01-31T12:00:00+00:00, found 'x'"),
    ],
)
def test_a_value_of_another_kind_is_named_by_its_place(take, message):
    found = {
        "number": 0.5, "whole": 3, "text": "x", "flag": True, "blank": " ", "nan": math.nan, "half": "\ud800",
        "list": [1, None], "huge": 10**400, "all huge": [10**400],
    }  # fmt: skip
    with pytest.raises(FieldError) as error:
        take(Fields(found, "a"))
    assert str(error.value).startswith(message)


def test_an_unknown_key_is_refused_with_the_near_miss():
    fields = Fields({"title": "A", "panls": []})
    assert fields.text("title") == "A"
    assert not fields.has("panels")
    with pytest.raises(FieldError, match=r"^unknown key 'panls'; did you mean 'panels'\?$"):
        fields.done()


def test_a_diverged_run_may_report_nan_as_a_fraction():
    assert math.isnan(Fields({"top1": math.nan}).fraction("top1"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.json cannot be read: No such file or directory\. Write it again\."),
        (b"{", r"a\.json is damaged \(.*\)\. Expected JSON\. Write it again\."),
        (b"\xff", r"a\.json is damaged \(.*\)\. Expected JSON\. Write it again\."),
        (b"[" * 100_000, r"a\.json is damaged \(.*\)\. Expected JSON\. Write it again\."),
        (b"[]", r"a\.json: expected an object, found \[\]\. Write it again\."),
        (b'{"a": -1}', r"a\.json: a: expected a whole number of at least 0, found -1\. Write it again\."),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(tmp_path / "a.json", lambda fields: fields.integer("a"), advice="Write it again.")


def test_a_whole_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": {"b": [1, 2]}}))
    assert read_json(tmp_path / "a.json", lambda fields: fields.object("a").integers("b", 2), advice="") == (1, 2)


def test_a_name_that_is_given_twice_is_refused(tmp_path):
    file = tmp_path / "summary.json"
    file.write_text('{"top1": 0.5, "inner": {"a": 1, "a": 2}}')
    with pytest.raises(UserError, match=r"summary\.json is damaged .*a duplicate name.*Do\."):
        read_json(file, lambda fields: fields, advice="Do.")
