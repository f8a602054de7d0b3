"""Where the command `trueup` begins: `trueup serve` starts without loading the other commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Every error is reported in one line, with the exit code of its kind."""
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2:])
    else:
        from trueup.cli import main

        main.main()


def _serve(words: list[str]) -> None:
    """Run `trueup serve` alone: loading the whole command line takes as long as the server does."""
    from trueup.config.project import enter
    from trueup.serving.start import become, ready

    enter(os.environ)
    if (settings := ready(words, os.environ)) is not None:
        become(settings)
    import typer

    from trueup.cli.online import serve

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    serve.register(app)
    try:
        app(words, prog_name="trueup serve")
    except Exception:
        from trueup.cli.edge import one_line

        with one_line():
            raise
