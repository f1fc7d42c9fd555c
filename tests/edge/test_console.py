"""A job shows how far it is: a bar on a terminal, lines in a log."""

import pytest

from xnorlit.edge import console


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test adds to it."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("stderr", [False, True])
def test_in_a_log_a_line_every_half_minute_says_how_far_it_is(stderr, clock, capsys):
    seen = []
    for item in console.progress("abcd", 1234, "data", "preparing train", stderr=stderr):
        seen.append(item)
        clock[0] += 20
    assert seen == list("abcd")
    lines = ["[data]    preparing train: 2 of 1,234"]  # after 40 seconds; the next would come after 80
    captured = capsys.readouterr()
    assert (captured.err if stderr else captured.out).splitlines() == lines
    assert not (captured.out if stderr else captured.err)


def test_a_short_job_leaves_no_line_in_a_log(clock, capsys):
    assert list(console.progress(range(1000), 1000, "data", "checking")) == list(range(1000))
    assert capsys.readouterr() == ("", "")


def test_a_job_of_unknown_length_says_how_much_is_done(clock, capsys):
    for _ in console.progress("abc", None, "steps", "turns"):
        clock[0] += 20
    assert capsys.readouterr().out == "[steps]   turns: 2\n"


def test_parts_are_named_in_a_log_as_they_begin(capsys):
    with console.parts(2, "bench") as begin:
        begin("conv2")
        assert capsys.readouterr().err == "[bench]   1 of 2: conv2\n"
        begin("memory")
    assert capsys.readouterr() == ("", "[bench]   2 of 2: memory\n")


def test_on_a_terminal_the_bar_names_the_part(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.parts(2, "bench") as begin:
        begin("conv2")
        begin("memory")
    assert "memory" in capsys.readouterr().err
