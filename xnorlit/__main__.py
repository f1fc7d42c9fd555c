"""`python -m xnorlit` is `xnorlit`."""

import sys

from xnorlit.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
