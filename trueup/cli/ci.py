"""The commands below `ci`: what a pull request changes, compared before it is merged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from trueup.cli import output
from trueup.cli.options import Json, ModelName, at_home
from trueup.cli.output import ci_text
from trueup.config.load import load_model
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
    from trueup.ci.revisions import revisions
    from trueup.config.project import project_root

    found = revisions(
        project_root(), base, head, Settings().configs
    )  # a wrong call ends before anything is imported that takes long
    from trueup.ci.compare import Wish, compare_revisions
    from trueup.ci.escape import plain

    wish = Wish(found, tuple(model or ()), not no_tests)
    result = compare_revisions(
        project_root(), Settings().configs, wish, out, lambda name: output.err.print(f"comparing {escape(plain(name))}")
    )
    output.emit(as_json, result, lambda: ci_text.compared(result, out))
    if result.fails:
        raise typer.Exit(1)


@app.command()
def sample(
    model: ModelName,
    rows: Annotated[int, typer.Option(min=200, help="The newest rows, in whole batches.")] = 20_000,
    out: Annotated[
        Path | None, typer.Option(help="File, .parquet or .csv. Default: configs/samples/<MODEL>.parquet.")
    ] = None,
    all_columns: Annotated[
        bool, typer.Option("--all-columns", help="All columns of the source, not only those that the config names.")
    ] = False,
    with_personal: Annotated[
        bool, typer.Option("--with-personal", help="Allow columns that look like personal data.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the newest rows of the source with their outcomes into a file, as the sample of `trueup ci compare`.

    Commit the file, and name it in the config: `ci: {sample: samples/<MODEL>.parquet}`.
    """
    from trueup.ci.sample_file import words, write_sample

    with at_home(looks=True) as home:
        file = out or home.configs / "samples" / f"{model}.parquet"
        config = load_model(home.configs, model)
        written = write_sample(config, home, rows, file, all_columns=all_columns, with_personal=with_personal)
    output.emit(as_json, written, lambda: output.say(escape("\n".join(words(written)))))


@app.command()
def post(
    file: Annotated[Path, typer.Argument(help="The report: comment.md of `compare`, or that of `trueup audit`.")],
    kind: Annotated[Literal["comment", "issue"], typer.Option("--as", help="What the report becomes.")] = "comment",
    outcome: Annotated[
        str,
        typer.Option(help="The outcome of the step that made the report; an issue is closed when it is `success`."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a report as the comment of a pull request or as an issue, and update the one that is there.

    The variables of GitHub Actions or GitLab CI say where; see docs/how-to/ci.md.
    """
    import trueup.ci.servers.post
    from trueup.errors import UsageError, WorkError

    try:
        done = trueup.ci.servers.post.post(kind, str(file), outcome, os.environ)
    except trueup.ci.servers.post.Unset as error:
        raise UsageError(str(error)) from None
    except trueup.ci.servers.post.Refused as error:
        raise WorkError(str(error)) from None
    output.emit(as_json, {"done": done}, lambda: output.say(escape(done)))


def register(main: typer.Typer) -> None:
    """Add the commands to the command line."""
    main.add_typer(app, name="ci")
