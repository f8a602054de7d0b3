"""`python -m trueup.orchestration.online MODEL`: publishes as `python -m trueup.online` does, in a prepared environment.

A server starts it so, because the server itself starts without preparing an environment that it does not use.
"""

from __future__ import annotations

import sys

import trueup.online.__main__
from trueup.errors import TrueupError
from trueup.orchestration.environment import prepare


def main() -> int:
    """Publish. Returns the exit code; an error is one line on stderr."""
    try:
        prepare()
    except TrueupError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return trueup.online.__main__.main()


if __name__ == "__main__":
    sys.exit(main())
