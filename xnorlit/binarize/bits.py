"""How many bits a code may have."""

from xnorlit.errors import UserError

REAL = 32
"""The number of bits that stands for: not quantised."""


def checked(name: str, bits: int, most: int = 8, least: int = 1) -> int:
    """The number of bits, checked.

    Args:
        name: The setting's name, for the message.
        bits: What was given.
        most: The largest number of bits that is not real.
        least: The smallest.

    Raises:
        UserError: It is neither a whole number from `least` to `most` nor 32.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not (least <= bits <= most or bits == REAL):
        raise UserError(
            f"{name} is {bits}. Expected a whole number from {least} to {most}, or {REAL} for real numbers."
        )
    return bits
