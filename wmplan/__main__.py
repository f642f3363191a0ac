"""The `wmplan` command as a module: python -m wmplan, torchrun -m wmplan."""

import sys

from wmplan.cli import main

if __name__ == "__main__":
    sys.exit(main())
