import pytest

from xnorlit.bench import turns
from xnorlit.bench.turns import by_turns


class Clock:
    """A clock that advances only when a call says so."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def takes(self, name, seconds):
        def call():
            self.calls.append(name)
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(turns.time, "perf_counter", lambda: found.now)
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: found.calls.append(f"sleep {seconds}"))
    return found


def test_every_side_has_a_time_per_round(clock):
    seconds = by_turns({"ours": clock.takes("ours", 0.5), "theirs": clock.takes("theirs", 2.0)}, 3)
    assert seconds.steady == seconds.first == {"ours": [0.5] * 3, "theirs": [2.0] * 3}


def test_long_calls_alternate_and_the_order_rotates(clock):
    by_turns({"a": clock.takes("a", 1.0), "b": clock.takes("b", 1.0)}, 2)
    assert clock.calls == [*"aabb", *"ab", *"ba"]  # two calls of each show how long they take


def test_a_quick_call_is_repeated_within_a_turn_and_its_first_call_is_separate(clock):
    times = iter([9, 1, *[7, 5, 5, 1, 1], *[7, 5, 5, 1, 1]])  # caches are cold at the beginning of each turn

    def call():
        clock.now += next(times) * 1e-3

    found = by_turns({"": call}, 2)
    assert found.steady[""] == pytest.approx([1e-3, 1e-3])
    assert found.first[""] == pytest.approx([7e-3, 7e-3])
    assert next(times, None) is None


def test_other_threads_are_given_time_to_fall_asleep(clock):
    by_turns({"a": clock.takes("a", 1.0)}, 2, settle=True)
    assert clock.calls == ["a", "a", "sleep 0.02", "a", "sleep 0.02", "a"]
