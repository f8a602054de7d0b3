"""What a project's files for Docker and Kubernetes leave to the user, and what its models need there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.project import CONFIGS
from trueup.config.sections.serving import ServeConfig

REGISTRY, DIGEST = "registry.example.com", "sha256:" + 64 * "0"  # as the templates have them
_STATELESS = frozenset({"home", "off"})  # kinds of `serve.durability` that need no disk


def unfinished(project: Path, environment: str) -> list[str]:
    """Each mistake in the files with which an environment is started in containers, as place, mistake, and what to do.

    A project whose runs are processes has no such files.
    """
    compose = Path(f"compose.{environment}.yaml")
    overlay = Path("deploy", "overlays", environment, "kustomization.yaml")
    found = [mistake for file in (compose, overlay) for mistake in _placeholders(project, file)]
    if (project / overlay).is_file():
        found += _serving(project, overlay)
    return found


def _placeholders(project: Path, file: Path) -> Iterator[str]:
    path = project / file
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        if REGISTRY in line:
            yield f"{file}, line {number}: {REGISTRY} is a placeholder; write the registry to which the image is pushed"
        if DIGEST in line:
            yield f"{file}, line {number}: the image's digest is a placeholder; write that which the push of the image reports"


def _serving(project: Path, overlay: Path) -> Iterator[str]:
    """Whether `trueup serve` finds a model, and keeps its log of predictions."""
    served, rolled_out = dict[str, str](), list[str]()
    for name, content in _served(project / CONFIGS):
        served[name] = str(content["serve"].get("durability", ServeConfig().durability))
        promote = content.get("promote")
        if isinstance(promote, dict) and promote.get("rollout") is not None:
            rolled_out.append(name)
    if not served:
        yield (
            f"{overlay}: no config has the section `serve`, so the pods of trueup-serve would end; add `serve: "
            "{durability: home}` to a model, or remove serve.yaml from deploy/base/kustomization.yaml"
        )
    text = (project / overlay).read_text(encoding="utf-8")
    has_log = any("components/serving-log" in line and not line.lstrip().startswith("#") for line in text.splitlines())
    lost = [f"{name} ({kind})" for name, kind in served.items() if kind not in _STATELESS]
    if lost and not has_log:
        yield (
            f"{overlay}: pods lose what they log with `serve.durability` of {', '.join(lost)}; set it to home, or add "
            "../../components/serving-log to `components`"
        )
    if rolled_out:
        yield (
            f"{overlay}: pods do not share what they count, so a rollout would never advance; remove `promote.rollout` of "
            f"{', '.join(rolled_out)}"
        )


def _served(configs: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The configs with the section `serve`, by name. What is no YAML is left to the check of the configs."""
    for file in sorted(configs.glob("*.yaml")):
        try:
            content: Any = yaml_text.read(file.read_text(encoding="utf-8"))
        except (YAMLError, UnicodeDecodeError):
            continue
        if isinstance(content, dict) and isinstance(content.get("serve"), dict):
            yield file.stem, content
