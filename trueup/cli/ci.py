"""The commands below `ci`: what a pull request changes, compared before it is merged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.options import Json
from trueup.cli.output import ci_text
from trueup.config.settings import Settings

app = typer.Typer(help="Compare the models of a pull request with those of its base.", no_args_is_help=True)

Base = Annotated[str, typer.Option(metavar="REV", help="The revision to compare with: a branch, tag or commit.")]
Head = Annotated[
    str | None,
    typer.Option(
        metavar="REV", help="The revision to judge. Default: the commit of the working tree, without changes."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="MODEL", help="Compare this model; repeat it for several. Default: the affected ones."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for comment.md, comparison.json and pictures.")]
NoTests = Annotated[bool, typer.Option("--no-tests", help="Do not run the project's tests.")]


@app.command()
def compare(
    base: Base = "origin/main",
    head: Head = None,
    model: Models = None,
    out: Out = Path("ci-report"),
    no_tests: NoTests = False,
    as_json: Json = False,
) -> None:
    """Train base and head on the same sample, judge both on the same unseen rows, and write a comment.

    The exit code is 1 if a finding is in `ci.fail_on` of the base's config, else 0. See docs/how-to/ci.md.
    """
    from trueup.ci.compare import Wish
    from trueup.ci.compare import compare as compare_both
    from trueup.config.project import project_root

    wish = Wish(base, head, tuple(model or ()), not no_tests)
    result = compare_both(
        project_root(), Settings().configs, wish, out, lambda name: output.err.print(f"comparing {name}")
    )
    output.emit(as_json, result, lambda: ci_text.compared(result, out))
    if result.fails:
        raise typer.Exit(1)


@app.command(hidden=True)
def side(folder: Annotated[Path, typer.Argument(help="The folder of a side's job.")]) -> None:
    """Do the work of one side; `trueup ci compare` starts it."""
    from trueup.ci.side import run

    run(folder)


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="ci")
