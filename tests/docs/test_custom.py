"""The classes of docs/how-to/custom.md, in a project folder of their own: one turn of the loop, and what goes wrong."""

import json
import pickle
import re
from datetime import datetime
from pathlib import Path

import pytest

from trueup.adapters.background import NoReports
from trueup.audit.dossier import gather
from trueup.config.load import load_model
from trueup.config.policies import applied, parse_all, usual
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import ConfigError
from trueup.governance.recorded_inputs import config_then
from trueup.home import Home
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model
from trueup.onboarding.check import check

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "custom.md"
FILES = re.findall(r"^```\w+\n# configs/([\w.]+)\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
AS_OF = datetime(2024, 2, 12)


def project(folder: Path, **changed: str) -> Home:
    """The files of the page, with some text in the config changed."""
    (configs := folder / "configs").mkdir()
    for name, text in FILES:
        for old, new in changed.items() if name.endswith(".yaml") else ():
            assert old in text
            text = text.replace(old, new)
        (configs / name).write_text(text)
    home = Home(Settings(home=folder / "home", configs=configs))
    home.background = NoReports()
    return home


def mistakes(home: Home) -> str:
    with pytest.raises(ConfigError) as refused:
        load_model(home.configs, "shop_orders")
    return str(refused.value)


def test_the_classes_of_the_page_go_through_one_turn(tmp_path):
    home = project(tmp_path)
    assert check("shop_orders", home).problems == []
    model = Model(load_model(home.configs, "shop_orders"), home)
    done = cycle(steps, model, AS_OF).decided
    assert done.outcome == "promoted", done.reasons
    assert any(reason.startswith("better than the prior in ") for reason in done.reasons)

    (entry,) = home.ledger.entries("shop_orders")
    (steady,) = (v for v in entry.body.verdicts if v.check == "steady")
    assert steady.figures["share"] >= 0.5
    assert {name for name in entry.body.recorded if name.startswith("module ")} == {
        "module shop", "module shop_gates", "module shop_sinks", "module shop_policies",
    }  # fmt: skip
    (shown,) = (v for v in gather(model, entry.body.judged.version)[0].verdicts if v.check == "steady")
    assert (shown.heading, shown.rule[:25]) == ("Is it better?", "Passes when enough of the")

    cycle(steps, model, datetime(2024, 2, 19))  # the first batch with a champion is scored
    (written,) = (tmp_path / "predictions").glob("*.jsonl")
    assert {"row_id", "prediction"} <= json.loads(written.read_text().splitlines()[0]).keys()

    # The module of then is what the config of then is read with, whatever stands beside the config today.
    (home.configs / "shop_gates.py").write_text("")
    assert config_then("shop_orders", entry.body, home).promote.gates[2].at_least == 0.5


def test_a_config_with_classes_of_ones_own_goes_to_other_processes_and_under_policies(tmp_path):
    home = project(tmp_path)
    config = load_model(home.configs, "shop_orders")
    frozen, recent = usual(config)
    assert (frozen.name, recent.name, recent.changes["retrain"]["every"]) == ("frozen", "Recent, weeks 1", "7 days")
    meant = applied(config, recent)
    assert [type(gate).__name__ for gate in meant.promote.gates] == ["Paired", "Baseline", "Steady"]
    assert pickle.loads(pickle.dumps(meant)).promote.gates[2].at_least == 0.5
    assert len({p.name for p in parse_all(config.replay.policies)}) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"at_least: 0.5": "at_leest: 0.5"}, "gates[3].at_leest: unknown key; did you mean `at_least`?"),
        ({"at_least: 0.5": "at_least: 7"}, "gates[3].at_least: input should be less than or equal to 1, not 7"),
        ({"shop_gates:": "shop_gate:"}, "no module shop_gate; put shop_gate.py beside the config"),
        ({"shop_gates:Steady": "shop_gates:Stead"}, "shop_gates.py has no Stead; correct the name"),
        ({"shop_gates:Steady": "shop_sinks:JsonLines"}, "is no gate; write `class JsonLines(Gate)` with Gate of"),
        ({"per_day: 40": "per_day: 0"}, "ingest.source.per_day: input should be greater than or equal to 1"),
        ({"folder: ../": "url: a://b:c@"}, "score.sink.url: holds a password"),
        ({"weeks: 1": "weeks: x"}, "replay.policies[2].weeks: input should be a valid integer"),
    ],
)
def test_mistakes_in_the_keys_of_ones_own_are_told_with_their_lines(tmp_path, changed, said):
    home = project(tmp_path, **changed)
    found = mistakes(home)
    assert said in found
    assert re.search(r"line \d+, ", found)


def test_all_mistakes_are_told_at_once_with_those_of_a_module_that_cannot_be_imported(tmp_path):
    home = project(tmp_path, **{"per_day: 40": "per_day: 0", "trials: 2": "trails: 2"})
    (home.configs / "shop_gates.py").write_text("import nothing_of_the_kind\n")
    (home.configs / "shop_policies.py").write_text("1 / 0\n")
    found = mistakes(home)
    assert "4 mistakes" in found
    for said in (
        "per_day",
        "train.trails",
        "no module nothing_of_the_kind",
        "raised ZeroDivisionError: division by zero",
    ):
        assert said in found


def test_the_schema_for_editors_has_the_keys_of_all_kinds():
    schema = json.dumps(ModelConfig.model_json_schema())
    for key in ("min_gain", "when_unclear", "updated_at", "skip_rows"):
        assert f'"{key}"' in schema
