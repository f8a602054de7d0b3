"""The command `python -m trueup_edge`."""

import sys

from trueup_edge.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
