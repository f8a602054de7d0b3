"""Where the command `trueup` begins: `trueup serve` starts without loading the other commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Every error is reported in one line, with the exit code of its kind.

    `--env NAME` may be anywhere, because it says where a command acts, not what it does.
    """
    from trueup.config.project import enter

    words, name = _without_environment(sys.argv[1:])
    if name is not None:
        from trueup.cli.edge import one_line

        with one_line():
            from trueup.config.environments import enter_named
            from trueup.project.targets import unfinished

            enter_named(name, os.environ, unfinished if words[:1] == ["check"] else None)
        sys.argv[1:] = words
    enter(os.environ)
    if sys.argv[1:2] == ["serve"]:
        _serve(sys.argv[2:])
    else:
        from trueup.cli import main

        main.main()


def _without_environment(words: list[str]) -> tuple[list[str], str | None]:
    """The words without `--env NAME`, and NAME; that of TRUEUP_ENV without the option.

    >>> _without_environment(["run", "m", "--env", "prod", "--json"])
    (['run', 'm', '--json'], 'prod')
    >>> _without_environment(["--env=dev", "status"])
    (['status'], 'dev')
    """
    name, rest, before = os.environ.get("TRUEUP_ENV"), list[str](), iter(words)
    for word in before:
        if word == "--env":
            name = next(before, "")
        elif word.startswith("--env="):
            name = word.partition("=")[2]
        elif word == "--":
            rest += [word, *before]
        else:
            rest.append(word)
    return rest, name


def _serve(words: list[str]) -> None:
    """Run `trueup serve` alone: loading the whole command line takes as long as the server does."""
    from trueup.serving.start import become, ready

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
