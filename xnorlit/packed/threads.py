"""Check the number of threads of a call."""

from xnorlit.edge.processes import cores

MOST_THREADS = 1024


def checked_threads(threads: int | None) -> int:
    """The number of threads; default: all processors of this process.

    Raises:
        TypeError: The number is not a whole number.
        ValueError: The number is less than 1 or more than 1024.
    """
    if threads is None:
        return cores()
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise TypeError(f"threads: expected a whole number, found {threads!r}")
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads: expected 1 to {MOST_THREADS}, found {threads}")
    return threads
