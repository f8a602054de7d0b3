"""The documentation says what is so: generated pages are fresh, links lead somewhere, commands and configs are real."""

import ast
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
import yaml
from typer.main import get_command

from docs.faults import FAULTS
from docs.generate import PAGES
from trueup.adapters.sources.files import FilesSource
from trueup.cli.help_examples import EXAMPLES
from trueup.cli.main import app
from trueup.config.environments import Environment
from trueup.config.load import load_model, parse_model

ROOT = Path(__file__).parents[2]
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [unquote(link) for link in LINK.findall(prose) if not re.match(r"[a-z]+:", link)]
    missing = [link for link in links if (path := link.split("#")[0]) and not (page.parent / path).exists()]
    assert not missing


def functions(file):
    return {n.name for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)}


def test_the_tests_that_are_named_for_faults_exist():
    named = {test for fault in FAULTS for test in fault.tests}
    assert not [t for t in named if t.split(":")[1] not in functions(ROOT / "tests" / t.split(":")[0])]


FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def blocks(page, kind):
    """The fenced blocks of a page with this word behind the fence."""
    return [body for word, body in FENCE.findall(page.read_text(encoding="utf-8")) if word == kind]


def commands():
    """Every command line of the fenced blocks that are not in another language."""
    for page in WRITTEN:
        lines = [line for kind in ("", "sh", "bash") for body in blocks(page, kind) for line in body.splitlines()]
        yield from (line.split("  #")[0].strip() for line in lines if re.match(r"(\$ )?trueup\s", line))


def parsed(line):
    """Parse a command line as the program would, without running it. Raises what typer raises for a wrong one."""
    command, words = get_command(app), shlex.split(line.removeprefix("$ "))[1:]
    context = command.make_context("trueup", [*words], resilient_parsing=False)
    while isinstance(command, typer.core.TyperGroup):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)
    return context


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_in_the_documentation_exist(line):
    parsed(line)


@pytest.mark.parametrize("wrong", ["trueup rum toy", "trueup run toy --as-off 2024-01-01", "trueup quarantine list"])
def test_a_command_that_does_not_exist_would_be_found(wrong):
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parsed(wrong)


def named_commands(command=None, path=()):
    """Every command and group, as the words that name it, with what typer made of it."""
    command = command or get_command(app)
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from named_commands(inner, (*path, name))


COMMANDS = dict(named_commands())


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words or "trueup")
def test_the_help_of_every_command_ends_with_examples_that_exist(words):
    """Of a group they may be of any command in it; of a command they are its own."""
    command = COMMANDS[words]
    context = typer.Context(command, info_name=f"trueup {words}".strip(), terminal_width=100)
    _, found, examples = command.get_help(context).partition("  Examples:\n")
    lines = [line.strip() for line in examples.splitlines()]
    assert found, f"trueup/cli/help_examples.py has none for `trueup {words}`"
    assert lines
    for line in lines:
        assert line.startswith(f"trueup {words}".strip())
        assert len(line) < 100
        parsed(line)


def test_examples_belong_to_commands_that_exist():
    assert set(EXAMPLES) == set(COMMANDS)


def deployments():
    """What the server calls each deployment: its flow and its name, a model's name as `<model>`."""
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    models = {d["parameters"]["model"] for d in found if "parameters" in d}
    named = [(d["entrypoint"].split(":")[1], d["name"]) for d in found]
    return {f"{flow}/{'<model>' if name in models else name}" for flow, name in named}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: str(p.relative_to(ROOT)))
def test_deployments_that_a_page_names_exist(page):
    text, there = page.read_text(encoding="utf-8"), deployments()
    flows = "|".join(sorted({name.split("/")[0] for name in there}))
    named = re.findall(rf"deployment run (\S+)|`((?:{flows})/[\w<>]+)`", text)
    assert {run or quoted for run, quoted in named} <= there


def test_the_config_of_the_first_model_is_valid(tmp_path):
    (text,) = blocks(ROOT / "docs" / "how-to" / "first-model.md", "yaml")
    (tmp_path / "late_orders.yaml").write_text(text, encoding="utf-8")
    assert isinstance(load_model(tmp_path, "late_orders").ingest.source, FilesSource)


def test_the_pieces_of_configs_on_other_pages_fit_into_it():
    (text,) = blocks(ROOT / "docs" / "how-to" / "first-model.md", "yaml")
    for page in sorted((ROOT / "docs" / "how-to").glob("*.md")):
        texts = blocks(page, "yaml") if page.name != "first-model.md" else []
        # Whole configs and deployments are used as they stand in tests/docs/test_how_to.py.
        for piece in (
            yaml.safe_load(t) for t in texts if not re.match(r"# configs/|# environments/|# \.pre-commit|  - <<: ", t)
        ):
            whole = yaml.safe_load(text)
            whole["task"] = "regression" if page.name == "regression.md" else whole["task"]
            for key, value in piece.items():
                section = whole["ingest"] if key == "source" else whole
                section[key] = {**section.get(key, {}), **value} if key != "source" else value
            parse_model(yaml.safe_dump(whole), page.name)


def test_the_environments_on_pages_are_environments():
    texts = [t for page in WRITTEN for t in blocks(page, "yaml") if t.startswith("# environments/")]
    assert texts
    for text in texts:
        assert Environment.model_validate(yaml.safe_load(text)).variables


SCORED = ROOT / "docs" / "ml-test-score.md"
SIDES = ("data", "model", "infrastructure", "monitoring")


def answers():
    """The rows of each side of the ML Test Score: number, test, points, and what answers it."""
    found = {}
    for part in SCORED.read_text(encoding="utf-8").split("\n## ")[1:]:
        rows = re.findall(r"^\| (\d) \| (.+?) \| ([\d.]+) \| (.+) \|$", part, flags=re.MULTILINE)
        found[part.split("\n")[0].lower()] = [(int(n), test, float(points), said) for n, test, points, said in rows]
    return found


def test_the_ml_test_score_has_its_28_tests_and_is_added_up_by_its_rule():
    found = answers()
    assert tuple(found) == SIDES
    assert all([n for n, *_ in rows] == list(range(1, 8)) for rows in found.values())
    assert {points for rows in found.values() for *_, points, _ in rows} <= {0.0, 0.5, 1.0}
    sums = {side: sum(points for *_, points, _ in rows) for side, rows in found.items()}
    told = ", ".join(f"{side} {points:g}" for side, points in sums.items())
    assert f"**Score: {min(sums.values()):g}** ({told})" in " ".join(SCORED.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("row", [row for rows in answers().values() for row in rows], ids=lambda row: row[1])
def test_what_answers_a_test_of_the_score_exists(row):
    _, _, points, said = row
    files = [link for link in LINK.findall(said) if (SCORED.parent / link).resolve().is_file()]
    commands = re.findall(r"`((?:trueup|python -m|make) [^`]+)`", said)
    for command in commands:
        if command.startswith("trueup"):
            parsed_words(command)
        elif command.startswith("make"):
            assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        else:
            assert (ROOT / f"{command.split()[2].replace('.', '/')}.py").is_file()
    if points == 0:
        assert re.match(r"no\b", said), "no point is an honest no"
    elif points == 1:
        assert any("/tests/" in file for file in files), "what runs by itself is a test"
    else:
        assert files or commands


def parsed_words(line):
    """Find a command that is named without its arguments. Raises what typer raises for one that does not exist."""
    command, words = get_command(app), line.split()[1:]
    context = command.make_context("trueup", [], resilient_parsing=True)
    for word in words:
        assert isinstance(command, typer.core.TyperGroup), line
        command = command.get_command(context, word)
        assert command is not None, line
