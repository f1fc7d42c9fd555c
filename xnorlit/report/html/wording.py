"""The page's number formats."""

import json
from typing import Any


def points(value: float, digits: int = 2) -> str:
    """Accuracies in percent and gaps in points, with two decimals."""
    return f"{value:.{digits}f}".replace("-", "−")


def whole(value: int) -> str:
    """Whole numbers with separated thousands."""
    return f"{value:,}"


def mebibytes(bits: float) -> str:
    """Bits as MiB."""
    return f"{_three_digits(bits / 2**23)} MiB"


def mebibytes_of_bytes(count: float) -> str:
    """Bytes as MiB."""
    return mebibytes(8 * count)


def milliseconds(seconds: float) -> str:
    """Seconds as ms."""
    return f"{_three_digits(1000 * seconds)} ms"


def factor(value: float) -> str:
    """Three significant digits and a times sign."""
    return f"{_three_digits(value)} ×"


def p_value(value: float) -> str:
    """Two significant digits, with a power of ten below 0.001."""
    if value >= 0.001:
        return f"{value:.2g}"
    if value < 1e-300:
        return "< 10⁻³⁰⁰"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} · 10{str(int(power)).translate(_RAISED)}"


def share(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.2f} %"


def loss(value: float) -> str:
    """Four decimals."""
    return f"{value:.4f}"


def moment(text: str) -> str:
    """Date and minute from a time in ISO 8601."""
    return text[:16].replace("T", " ")


def plain(value: object) -> str:
    """A setting as YAML would write it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def machine(value: Any) -> str:
    """A value for programs, in an attribute: JSON, which keeps every digit of a float."""
    return json.dumps(value)


def _three_digits(value: float) -> str:
    """Three significant digits without a power of ten: 0.227, 29.7, 1,230."""
    return f"{float(f'{value:.3g}'):,.10g}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
