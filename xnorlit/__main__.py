"""`python -m xnorlit` is `xnorlit`."""

import sys

from xnorlit.cli import main

if __name__ == "__main__":
    sys.exit(main())
