"""One network on several runtimes: what each answers, weighs and takes, counted from its logits."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests.packed.tiny import images
from xnorlit.errors import UserError
from xnorlit.export import doors as room
from xnorlit.export.doors import BATCH, SLOW, TURNS, C, Door, document, doors, markdown
from xnorlit.export.from_c import Network as FromC
from xnorlit.packed import PackedNetwork, _kernels


def runtime(seen, change=lambda logits: logits, network=None):
    """A format whose network answers as the engine, changed; it notes batches and threads."""

    def made(file, batch, threads):
        seen.append((file.name, batch, threads))
        return lambda images: change(network(images))

    return SimpleNamespace(runtime="Made", network=made)


@pytest.fixture
def others(packed, monkeypatch):
    """Three formats: one that agrees, one that swaps the last of the five, and one that is refused."""
    seen, engine = [], PackedNetwork(*packed)

    def swapped(logits):
        order = np.argsort(-logits, axis=1, kind="stable")
        found = logits.copy()
        np.put_along_axis(found, order[:, 3:5], np.take_along_axis(logits, order[:, 4:2:-1], axis=1), axis=1)
        return found

    def export(given, file, *, format):
        assert given is packed
        if format == "never":
            raise UserError("it is not installed")
        return SimpleNamespace(files=[file.with_suffix(".bin"), file.with_suffix(".xml")], bytes=77)

    formats = {"same": runtime(seen, network=engine), "swapped": runtime(seen, swapped, engine), "never": runtime(seen)}
    monkeypatch.setattr(room, "FORMATS", formats)
    monkeypatch.setattr(room, "export", export)
    return seen


@pytest.mark.parametrize("count", [3, BATCH + 1])
def test_every_runtime_has_a_row_of_its_answers(count, packed, others):
    pixels = images(count)
    engine = PackedNetwork(*packed)
    labels = engine.predict(pixels)
    labels[0] = (labels[0] + 1) % 5

    @contextmanager
    def other(content):
        assert content == packed.content
        found = lambda images: engine(images)[:, ::-1]  # noqa: E731
        yield type("Other", (), {"bytes": 5, "__call__": lambda _, x: found(x), "milliseconds": lambda *_: 0.5})()

    @contextmanager
    def refused(_):
        raise UserError("no browser")
        yield

    found = doors(packed, pixels, labels, {"page": other, "no page": refused})
    ours, from_c, page, no_page, same, swapped, never = found
    top1 = 100 * (count - 1) / count
    assert ours.name == f"xnorlit ({engine.isa})"
    assert (from_c.name, page.name, same.name, never.name) == (C, "page", "Made (same)", "Made (never)")
    for row in (ours, from_c, same):
        assert (row.images, row.top1, row.differ, row.remark) == (count, pytest.approx(top1), 0, "")
        assert row.milliseconds > 0
    assert (ours.bytes, from_c.bytes, same.bytes) == (packed.bytes, packed.bytes, 77)
    assert (swapped.top1, swapped.differ) == (pytest.approx(top1), count), "the fourth and the fifth differ"
    assert (page.images, page.differ, page.bytes, page.milliseconds) == (count, count, 5, 0.5)
    assert (no_page, never) == (
        Door("no page", remark="no browser"),
        Door("Made (never)", remark="it is not installed"),
    )
    assert others == [("network.xml", batch, 1) for batch in (min(count, BATCH), 1) * 2]


def test_every_runtime_is_timed_with_the_first_image(packed, others, monkeypatch):
    given, pixels = [], images(3)
    monkeypatch.setattr(room, "_milliseconds", lambda network, image: given.append(image) or network(image)[0, 0])
    found = doors(packed, pixels, np.zeros(3, int))
    assert len(given) == 4, "the engine, the C interface and two formats"
    assert all(np.array_equal(image, pixels[:1]) for image in given)
    assert {row.milliseconds for row in found if row.images} == {PackedNetwork(*packed)(pixels)[0, 0]}


def test_kernels_without_the_c_interface_have_a_row_that_says_so(packed, others, monkeypatch):
    monkeypatch.setattr(room, "FromC", lambda _: (_ for _ in ()).throw(UserError("no C interface")))
    assert doors(packed, images(2), np.zeros(2, int))[1] == Door(C, remark="no C interface")


@pytest.mark.parametrize(("seconds", "turns"), [(0.001, TURNS), (SLOW / 4, 5), (SLOW / 2, 3), (5 * SLOW, 3)])
def test_the_median_is_of_twenty_turns_or_of_as_many_as_a_second_has(seconds, turns, monkeypatch):
    clock, calls = [0.0], []

    def network(image):
        calls.append(image)
        clock[0] += seconds * (100 if len(calls) == 2 and turns == TURNS else 1)  # one turn of many is disturbed

    monkeypatch.setattr(room, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    found = room._milliseconds(network, "image")
    assert found == pytest.approx(1000 * seconds)
    assert calls == ["image"] * turns


def test_the_table_has_a_row_for_each_runtime_or_its_remark():
    rows = [Door("a", 1200, 45.678, 3, 12345, 0.12345), Door("b", remark="this | that")]
    assert markdown(rows) == (
        "| runtime | top-1 % | images whose top 5 differ | bytes | ms an image |\n|---|---|---|---|---|\n"
        "| a | 45.68 | 3 of 1,200 | 12,345 | 0.123 |\n| b | this / that | | | |"
    )
    assert json.loads(document(rows))[0] == {
        "name": "a", "images": 1200, "top1": 45.678, "differ": 3, "bytes": 12345, "milliseconds": 0.12345, "remark": "",
    }  # fmt: skip


# --- the C interface --------------------------------------------------------------------------------------------------
def test_the_c_interface_answers_as_the_engine(packed):
    pixels = images(4)
    expected = PackedNetwork(*packed)(pixels, threads=1)
    network = FromC(packed.content)
    np.testing.assert_array_equal(network(pixels), expected)
    np.testing.assert_array_equal(network(np.asfortranarray(pixels)[::-1]), expected[::-1])
    assert network(pixels[:0]).shape == (0, 5)


def test_what_the_c_interface_refuses_has_its_message(packed, monkeypatch):
    with pytest.raises(UserError, match=r"^xnorlit_load: .+"):
        FromC(packed.content[:100])
    with pytest.raises(UserError, match=r"^xnorlit_run: .+"):
        FromC(packed.content)(images(1)[:, :7])
    monkeypatch.setattr(_kernels, "__file__", None)  # this program, which has no such function
    with pytest.raises(UserError, match="the compiled kernels have no C interface"):
        FromC(packed.content)
