"""Check the number of bits of a code."""

from xnorlit.errors import UserError

REAL = 32
"""The number of bits that means: not quantised."""


def checked(name: str, bits: int, most: int = 8, least: int = 1) -> int:
    """The number of bits, checked.

    Args:
        name: The setting's name, for the message.
        bits: The given number of bits.
        most: The largest number of bits of a code.
        least: The smallest number of bits of a code.

    Raises:
        UserError: `bits` is neither a whole number from `least` to `most` nor 32.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not (least <= bits <= most or bits == REAL):
        raise UserError(
            f"{name} is {bits}. Expected a whole number from {least} to {most}, or {REAL} for real numbers."
        )
    return bits
