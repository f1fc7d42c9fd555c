"""FFCV without compilation: numba needs seconds of each process to compile what Python runs at once on small images."""

import pytest


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python run the code of readers made from now on; skip the test where FFCV is missing.

    The tests of pixels in `test_ffcv_reader.py` hold the compiled code in one thread, and one of `test_module.py` that
    of several.
    """
    reader = pytest.importorskip("xnorlit.data.ffcv_reader")
    monkeypatch.setattr(reader.numba.config, "DISABLE_JIT", True)
    monkeypatch.setattr(reader.Compiler, "is_enabled", False)
    monkeypatch.setattr(reader, "_kernel", reader._kernel.__wrapped__)
