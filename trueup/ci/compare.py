"""Compare: the models that a pull request changes, on its base and on its head, and the report of it."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.error import YAMLError

from trueup import files
from trueup.ci.affected import affected
from trueup.ci.comment import render
from trueup.ci.environment import interpreter
from trueup.ci.findings import DELETED, NOT_COMPARED, Comparison, Found, Result, TestsRun
from trueup.ci.links import links
from trueup.ci.model_comparison import Tree, compare_models, rules_of
from trueup.ci.project_tests import run_tests
from trueup.ci.revisions import Revisions, worktree
from trueup.ci.servers.metrics import metrics
from trueup.config import yaml_text
from trueup.config.load import load_model, model_names, parse_model
from trueup.config.schema import ModelConfig
from trueup.config.sections.ci import SOURCE, CiConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.records import to_plain
from trueup.errors import ConfigError, TrueupError, UnknownModel, UsageError, WorkError
from trueup.hints import did_you_mean

_SCRATCH = re.compile(r"(?<![\w/])(?:base|head)-tree/")
COMMENT, FACTS, METRICS = "comment.md", "comparison.json", "metrics.txt"


@dataclass(frozen=True)
class Wish:
    """What to compare. `models` are compared whether or not they are affected; without any, those that are."""

    revisions: Revisions
    models: tuple[str, ...] = ()
    tests: bool = True


@dataclass(frozen=True)
class _Trees:
    """Both working trees, and the folder for what the sides write."""

    base: Tree | WorkError
    head: Tree | WorkError
    base_configs: Path
    head_configs: Path
    place: Path
    repository: Path


def compare_revisions(
    project: Path, configs: Path, wish: Wish, out: Path, on_model: Callable[[str], None] = lambda _: None
) -> Result:
    """Compare, and write `COMMENT`, `FACTS`, `METRICS` and pictures into `out`.

    Raises UnknownModel for a model that neither side has, UsageError for a folder out of the repository.
    """
    started = time.monotonic()
    found = wish.revisions
    out.mkdir(parents=True, exist_ok=True)
    for name in (COMMENT, FACTS, METRICS):  # an earlier report must not be taken for this one if this ends early
        (out / name).unlink(missing_ok=True)
    with _trees(found, project, configs) as trees:
        names = _names(found, wish.models, project, configs, trees)
        comparisons, rules = list[Comparison](), list[CiConfig]()
        for name in names:
            on_model(name)
            comparison, rule = _compared(name, trees, out)
            comparisons.append(comparison)
            if (trees.base_configs / f"{name}.yaml").is_file():  # a new model's config is the head's
                rules.append(rule)
        tests = _tests(trees, rules) if wish.tests else None
    failing = _tests_fail(tests, rules) or any(c.fails for c in comparisons)
    result = Result(
        base_name=found.base_name,
        base=found.base,
        head=found.head,
        behind=found.behind,
        comparisons=tuple(comparisons),
        tests=tests,
        fails=failing,
        seconds=round(time.monotonic() - started, 1),
        links=links(os.environ),
    )
    files.write_text(out / COMMENT, render(result))
    files.write_text(out / METRICS, metrics(result))
    files.write_text(out / FACTS, json.dumps(_finite(to_plain(result)), indent=1, allow_nan=False))
    return result


def _finite(value: Any) -> Any:
    """Plain values as JSON has them: no infinity, and no NaN."""
    if isinstance(value, dict):
        return {str(key): _finite(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _trees(found: Revisions, project: Path, configs: Path) -> Iterator[_Trees]:
    """Both working trees with their environments, in a folder that is removed at the end."""
    inside, beside = _relative(project, found.root), _relative(configs, found.root)
    with tempfile.TemporaryDirectory(prefix="trueup-ci-") as scratch, ExitStack() as stack:
        place = Path(scratch).resolve()
        trees = dict[str, Tree | WorkError]()
        for side, commit in (("base", found.base), ("head", found.head)):
            root = stack.enter_context(worktree(found.root, commit, place / f"{side}-tree"))
            try:
                python = interpreter(root / inside, place / f"{side}-environment", os.environ)
                trees[side] = Tree(root / inside, root / beside, python)
            except WorkError as error:
                trees[side] = WorkError(f"the {side} side failed: {error}")
        base, head = (place / f"{side}-tree" / beside for side in ("base", "head"))
        yield _Trees(trees["base"], trees["head"], base, head, place, found.root)


def _relative(folder: Path, root: Path) -> PurePosixPath:
    try:
        return PurePosixPath(folder.resolve().relative_to(root.resolve()).as_posix())
    except ValueError:
        raise UsageError(f"{folder} is not in the repository {root}; run this in the project's folder") from None


def _names(found: Revisions, wished: Sequence[str], project: Path, configs: Path, trees: _Trees) -> list[str]:
    """The models to compare. Raises UnknownModel."""
    both = (trees.base_configs, trees.head_configs)
    every = sorted({name for folder in both for name in model_names(folder)})
    if unknown := [name for name in wished if name not in every]:
        hint = did_you_mean(unknown[0], every, f"known models: {', '.join(every) or 'none'}")
        raise UnknownModel(f"{unknown[0][:80]!a} is in neither side; {hint}")
    if wished:
        return list(dict.fromkeys(wished))
    beside = _relative(configs, found.root)
    roots = [trees.place / f"{side}-tree" for side in ("base", "head")]
    return sorted(affected(found.changed, _relative(project, found.root), beside, roots))


def _compared(name: str, trees: _Trees, out: Path) -> tuple[Comparison, CiConfig]:
    """Compare one model; the rule of the base says which findings fail."""
    there, here = ((folder / f"{name}.yaml").is_file() for folder in (trees.base_configs, trees.head_configs))
    try:
        config = load_model(trees.base_configs, name) if there else _new_config(name, trees.head_configs)
    except TrueupError as error:
        side = "base" if there else "head"
        found = Found("not_compared", f"the config of the {side} has mistakes: {error}")
        return _ruled(Comparison(name, NOT_COMPARED, (found,)), CiConfig(), trees.place), CiConfig()
    if not here:
        deleted = Comparison(name, DELETED, remarks=("the head deletes this model",))
        return _ruled(deleted, config.ci, trees.place), config.ci
    comparison = _with_sample(config, trees, there, out)
    return _ruled(comparison, config.ci, trees.place), config.ci


def _with_sample(config: ModelConfig, trees: _Trees, there: bool, out: Path) -> Comparison:
    name = config.model
    for tree in (trees.base, trees.head):
        if isinstance(tree, WorkError):
            return Comparison(name, NOT_COMPARED, (Found("not_compared", str(tree)),))
    assert isinstance(trees.base, Tree)
    assert isinstance(trees.head, Tree)
    if config.ci.sample is None:
        side = "base" if there else "head"
        why = f"the config of the {side} has no ci.sample; `trueup ci sample {name}` writes one, or set `ci: {{sample: source}}`"
        return Comparison(name, NOT_COMPARED, (Found("not_compared", why),))
    base = trees.base if there else None
    with _hidden(trees.head if there else None, config.ci):
        comparison, judged = compare_models(
            config, base, trees.head, trees.place / "work" / name, trees.repository, _columns(trees.head_configs, name)
        )
    if judged is None or not comparison.metrics:
        return comparison
    from trueup.ci.pictures import draw

    return replace(comparison, pictures=tuple(draw(config, comparison, judged.case, out)))


@contextmanager
def _hidden(head: Tree | None, ci: CiConfig) -> Iterator[None]:
    """Take the sample out of the head's tree for the block: it has the outcomes of the judged rows."""
    paths = [head.configs / p for p in (ci.sample, ci.label_sample) if p not in (None, SOURCE)] if head else []
    inside = [path for path in paths if head and path.resolve().is_relative_to(head.project.resolve())]
    held = {path: path.read_bytes() for path in inside if path.is_file()}
    for path in held:
        path.unlink()
    try:
        yield
    finally:
        for path, content in held.items():
            with files.whole(path, durable=False) as file:  # it replaces a link that the head put there
                file.write(content)


def _ruled(comparison: Comparison, ci: CiConfig, place: Path) -> Comparison:
    """Mark the findings that fail by the rule. Our scratch folder, which sentences may name, says nothing to anybody."""
    findings = tuple(
        replace(f, fails=f.kind in ci.fail_on, sentence=_shown(f.sentence, place)) for f in comparison.findings
    )
    return replace(comparison, findings=findings, fail_on=tuple(ci.fail_on))


def _shown(sentence: str, place: Path) -> str:
    return _SCRATCH.sub("", sentence.replace(f"{place}/", "")).replace("\n  ", "; ")


def _content(configs: Path, name: str) -> Mapping[str, Any]:
    """A config as plain values, without importing what it names."""
    try:
        content = yaml_text.read((configs / f"{name}.yaml").read_text(encoding="utf-8"))
    except (YAMLError, OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _columns(configs: Path, name: str) -> list[str]:
    """The source's columns that a head's features name; none if the config is wrong, which its side reports."""
    content = _content(configs, name)
    try:
        declared = FeaturesConfig.model_validate(content.get("features")).columns
    except ValidationError:
        return []
    ingest = content.get("ingest")
    kept = ingest.get("keep") if isinstance(ingest, Mapping) else None
    return declared + [c for c in kept or [] if isinstance(c, str) and _has_custom(content)]


def _has_custom(content: Mapping[str, Any]) -> bool:
    features = content.get("features")
    return isinstance(features, Mapping) and features.get("custom") is not None


def _new_config(name: str, configs: Path) -> ModelConfig:
    """A new model's rules, read without its code. Raises ConfigError."""
    content = _content(configs, name)
    try:
        return parse_model(yaml_text.write(dict(rules_of(content))), f"{name}.yaml")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}.yaml", [f"{error}; `trueup check {name}` lists all mistakes"]) from error


def _tests(trees: _Trees, rules: Sequence[CiConfig]) -> TestsRun:
    if isinstance(trees.head, WorkError):
        return TestsRun("failed", str(trees.head), "", 0.0)
    minutes = max((ci.minutes for ci in rules), default=CiConfig().minutes)
    return run_tests(trees.head, trees.place, trees.repository, minutes)


def _tests_fail(tests: TestsRun | None, rules: Sequence[CiConfig]) -> bool:
    if tests is None or tests.outcome in {"passed", "none"}:
        return False
    return any("tests" in ci.fail_on for ci in rules or [CiConfig()])
