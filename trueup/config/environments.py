"""An environment, such as staging: the file `environments/<name>.yaml` says what differs there, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.project import project_root
from trueup.config.section import NAME, Section
from trueup.errors import ConfigError, UsageError
from trueup.hints import did_you_mean

VARIABLE = "TRUEUP_ENV"  # the environment of this process
FOLDER = "environments"
# Keys of a config that may differ: who decides, and how much is tried. What is trained and judged is the same everywhere.
OVERRIDES = ("promote.mode", "promote.approval", "promote.across", "train.trials", "train.search_rows")
_SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_KEY$|AUTH_STRING", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OF_ADDRESS = re.compile(r"://[^/\s:@${}]+:[^/\s@${}]+@")  # a password in an address


class Environment(Section):
    """One environment."""

    about: str | None = Field(None, description="One sentence for people.")
    variables: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str] = Field(
        {},
        description="Environment variables of its commands and flow runs. `${NAME}` is the variable NAME of the caller; secrets can only be given so.",
    )
    work_pool: str | None = Field(None, description="Work pool of the deployments. Default: that of prefect.yaml.")
    schedules: bool = Field(True, description="Whether deployed flows run by their schedules.")
    overrides: dict[str, Any] = Field(
        {}, description=f"Keys of every model's config: {', '.join(f'`{key}`' for key in OVERRIDES)}."
    )


@dataclass(frozen=True)
class Chosen:
    """An environment by its name and file."""

    name: str
    file: Path
    content: Environment


def names(project: Path) -> list[str]:
    """The environments of a project, in order."""
    return sorted(file.stem for file in (project / FOLDER).glob("*.yaml"))


def choose(project: Path, name: str) -> Chosen:
    """Read an environment. Raises UsageError for an unknown one, ConfigError with all mistakes of the file."""
    known = names(project)
    if not re.fullmatch(NAME, name) or name not in known:
        hint = did_you_mean(
            name, known, f"this project has {', '.join(known)}" if known else f"there is no {project / FOLDER}"
        )
        raise UsageError(f"there is no environment {name[:80]!a}; {hint}")
    file = project / FOLDER / f"{name}.yaml"
    try:
        content = yaml_text.read(file.read_text(encoding="utf-8")) or {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), [f"not YAML: {' '.join(str(error).split())}"]) from None
    try:
        environment = Environment.model_validate(content)
    except ValidationError as error:
        raise ConfigError(str(file), [_explained(e) for e in error.errors(include_url=False)]) from None
    if mistakes := list(_mistakes(environment)):
        raise ConfigError(str(file), mistakes)
    return Chosen(name, file, environment)


def enter(chosen: Chosen, environment: MutableMapping[str, str], further: Sequence[str] = ()) -> None:
    """Set the environment's variables, and its name.

    Raises ConfigError for all missing variables at once, and for variables that are set to something else: a command must not
    reach another environment's home by chance. `further` are mistakes that were found elsewhere, to be reported with these.
    """
    values, mistakes = dict[str, str](), list[str]()
    for name, text in chosen.content.variables.items():
        missing = [of for of in _REFERENCE.findall(text) if of not in environment]
        if missing:
            mistakes.append(f"variables.{name}: ${{{'}, ${'.join(missing)}}} is not set; set it where this runs")
            continue
        values[name] = _REFERENCE.sub(lambda found: environment[found[1]], text)
        if environment.get(name, values[name]) != values[name]:
            mistakes.append(f"variables.{name}: {name} is set to something else; unset it, or leave out --env")
    mistakes += further
    if mistakes:
        raise ConfigError(str(chosen.file), mistakes)
    environment.update(values)
    environment[VARIABLE] = chosen.name


def overridden(content: dict[str, Any], configs: Path, where: str) -> tuple[dict[str, Any], str]:
    """A config's content with the overrides of this process's environment, and its name for messages."""
    if (name := os.environ.get(VARIABLE)) is None:
        return content, where
    chosen = choose(configs.resolve().parent, name)
    if not chosen.content.overrides:
        return content, where
    changed = deepcopy(content)
    for dotted, value in chosen.content.overrides.items():
        _put(changed, dotted.split("."), value)
    return changed, f"{where} in the environment {name}"


def enter_named(
    name: str, environment: MutableMapping[str, str], also: Callable[[Path, str], Sequence[str]] | None = None
) -> None:
    """Enter an environment of the project of the working folder; see `choose` and `enter`. `also` finds further mistakes."""
    project = project_root()
    enter(choose(project, name), environment, also(project, name) if also else ())


def _put(content: dict[str, Any], path: list[str], value: Any) -> None:
    *sections, last = path
    for section in sections:
        inside = content.get(section)
        content[section] = inside = inside if isinstance(inside, dict) else {}
        content = inside
    content[last] = value


def _mistakes(environment: Environment) -> Iterator[str]:
    for name, text in environment.variables.items():
        if name == VARIABLE:
            yield f"variables.{name}: the file's name is the environment's; remove it"
        is_secret = _SECRET.search(name) is not None and not name.endswith("_FILE")
        if (is_secret and not _REFERENCE.fullmatch(text)) or _OF_ADDRESS.search(text):
            yield f"variables.{name}: a secret must not be in a file; write ${{NAME}}, and set NAME where it runs"
    for key in environment.overrides:
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in OVERRIDES):
            yield f"overrides.{key}: only {', '.join(OVERRIDES)} may differ; change the config for the others"


def _explained(error: Mapping[str, Any]) -> str:
    at = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(
            str(error["loc"][-1]), Environment.model_fields, f"keys are {', '.join(Environment.model_fields)}"
        )
        return f"{at}: unknown key; {hint}"
    return f"{at}: {error['msg'][:1].lower()}{error['msg'][1:]}"
