"""`python -m omnirepro COMMAND`: the command line of `cli.main`."""

import sys

from omnirepro.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
