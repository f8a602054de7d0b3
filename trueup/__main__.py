"""The command line, as `python -m trueup`."""

from trueup.cli.entry import main

if __name__ == "__main__":
    main()
