"""The files of a project, rendered from the templates of this version of Trueup."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import jinja2

from trueup.config import json_schema
from trueup.config.project import CONFIGS
from trueup.project.choices import Choices

SCHEMAS = PurePosixPath(CONFIGS, json_schema.FOLDER)
_TEMPLATES = Path(__file__).with_name("templates")
_POST = (
    Path(__file__).parents[1] / "ci" / "servers" / "post.py"
)  # a step of workflows that check out and install nothing
_SUFFIX = ".j2"
_HIDDEN = "dot_"  # of a name that begins with a dot in the project: packages leave such files out
# Erb's delimiters, since {{ }} are those of Prefect and of GitHub Actions.
_LANGUAGE = jinja2.Environment(
    variable_start_string="<%=",
    variable_end_string="%>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<%#",
    comment_end_string="%>",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,
)


def rendered(choices: Choices) -> dict[PurePosixPath, str]:
    """The text of each file of a project, by its path in the project."""
    extras = ["lightgbm", "s3", *(["flights"] if choices.example == "flights" else [])]
    values = {
        **choices.__dict__,
        "slug": choices.slug,
        "version": version("trueup"),
        "extras": extras,
        "smoke": {"made-up": "example", "flights": "flight_delays", "none": ""}[choices.example],
        "run_in": {environment: _command(choices, environment) for environment in ("staging", "prod")},
        "post": _POST.read_text(encoding="utf-8").rstrip(),
    }
    made = {
        path: _LANGUAGE.from_string(text).render(values) if is_template else text
        for folder in _folders(choices)
        for path, text, is_template in _files(_TEMPLATES / folder)
    }
    return made | {SCHEMAS / name: text for name, text in json_schema.texts().items()}


def _command(choices: Choices, environment: str) -> str:
    """`trueup` in an environment, where its programs run."""
    return {
        "process": f".venv/bin/trueup --env {environment}",
        "docker": f"docker compose -f compose.yaml -f compose.{environment}.yaml exec -T worker trueup",
        "kubernetes": f"kubectl --namespace {choices.slug}-{environment} exec deployment/trueup-worker --container worker -- trueup",
    }[choices.deploy]


def _folders(choices: Choices) -> list[str]:
    example = choices.example.replace("-", "_")
    in_containers = [] if choices.deploy == "process" else [f"{example}_served", "image"]
    chosen = [example, choices.ci, *in_containers, choices.deploy]
    return ["base", *(name for name in chosen if (_TEMPLATES / name).is_dir())]


def _files(folder: Path) -> Iterator[tuple[PurePosixPath, str, bool]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            parts = [
                part.replace(_HIDDEN, ".", 1) if part.startswith(_HIDDEN) else part
                for part in file.relative_to(folder).parts
            ]
            path = PurePosixPath(*parts)
            yield (
                PurePosixPath(str(path).removesuffix(_SUFFIX)),
                file.read_text(encoding="utf-8"),
                path.suffix == _SUFFIX,
            )
