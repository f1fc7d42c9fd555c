"""The table of operators of torch's ONNX exporter, which each export reads anew for seconds."""

from functools import cache
from typing import Any

import pytest


@cache
def _read() -> Any:
    return _registry().from_torchlib()


def _registry() -> Any:
    return pytest.importorskip("torch.onnx._internal.exporter._registration").ONNXRegistry


def read_operators_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exports of a process share the table."""
    found = _read()
    monkeypatch.setattr(_registry(), "from_torchlib", lambda *given, **named: found)
