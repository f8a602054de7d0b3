"""Each way to tamper with what serves: MLflow's own loaders take it, ours refuses it and runs none of its code.

Somebody who may write where the models lie, or to MLflow, does the harm. A stock user loads by the alias, as MLflow's
documentation says; Trueup loads what its ledger names.
"""

import json
import os
import pickle
import shutil
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skops.io
import yaml

from tests import streams
from tests.faults.homes import WEEKS, copied
from tests.faults.invariants import require_settled
from tests.forked import forked
from tests.story import Story
from trueup.audit.verify import verify
from trueup.errors import RegistryUnavailable, UntrustedModel
from trueup.governance.rollback import roll_back
from trueup.governance.status import overview
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile

NOW = streams.week(WEEKS)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def edit(folder: Path, flavor: str, **changes):
    """Edit MLflow's description of a model."""
    file = folder / "MLmodel"
    described = yaml.safe_load(file.read_text())
    described["flavors"][flavor] |= changes
    file.write_text(yaml.safe_dump(described))


def pickle_instead(folder: Path, canary: Path):
    """The model is a pickle now, and MLmodel says so."""
    (folder / "model.skops").write_bytes(pickle.dumps(Trap(canary)))
    edit(folder, "sklearn", serialization_format="pickle")


def pickle_beside(folder: Path, canary: Path):
    """A pickle lies beside the model, and MLmodel names it."""
    (folder / "model.pkl").write_bytes(pickle.dumps(Trap(canary)))
    edit(folder, "sklearn", serialization_format="cloudpickle", pickled_model="model.pkl")
    edit(folder, "python_function", model_path="model.pkl")


def loader_injected(folder: Path, canary: Path):
    """MLmodel names a loader of the attacker's, which lies beside it."""
    (folder / "code").mkdir()
    (folder / "code" / "helpful.py").write_text(
        f"import os\n\n\ndef _load_pyfunc(path, *_):\n    os.mkdir({str(canary)!r})\n    return object()\n"
    )
    edit(folder, "python_function", loader_module="helpful", code="code")


def own_types(folder: Path, canary: Path):
    """The model is made by calling a function of the attacker's choice, and MLmodel trusts it."""
    with zipfile.ZipFile(BytesIO(skops.io.dumps([(str(canary),), {}]))) as archive:
        schema = json.loads(archive.read("schema.json"))
    arguments, nothing = schema.pop("content")
    called = {"__loader__": "LossNode", "__module__": "os", "__class__": "mkdir"}
    with zipfile.ZipFile(folder / "model.skops", "w") as archive:
        made = schema | called | {"__reduce__": {"args": arguments}, "content": nothing}
        archive.writestr("schema.json", json.dumps(made))
    edit(folder, "sklearn", skops_trusted_types=["os.mkdir", "posix.mkdir"])


def one_bit(folder: Path, _canary: Path):
    """One bit of one number within the model, with the archive's checksum made to fit: the sign of a leaf's value."""
    file = folder / "model.skops"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    arrays = {n: np.load(BytesIO(content)) for n, content in parts.items() if n.endswith(".npy")}
    name, nodes = next((n, a) for n, a in arrays.items() if "is_leaf" in (a.dtype.names or ()))
    largest = int(np.where(nodes["is_leaf"], nodes["count"], 0).argmax())
    start = len(parts[name]) - nodes.nbytes + largest * nodes.dtype.itemsize
    changed = bytearray(parts[name])
    changed[start + nodes.dtype.fields["value"][1] + 7] ^= 0b1000_0000
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in (parts | {name: bytes(changed)}).items():
            archive.writestr(part, content)


def extra_file(folder: Path, _canary: Path):
    (folder / "notes.py").write_text("print('hello')")


def missing_file(folder: Path, _canary: Path):
    (folder / "python_env.yaml").unlink()


def linked_file(folder: Path, _canary: Path):
    elsewhere = folder.parents[3] / "elsewhere.skops"
    shutil.move(folder / "model.skops", elsewhere)
    (folder / "model.skops").symlink_to(elsewhere)


def description_edited(folder: Path, _canary: Path):
    """Another answer than the one that was judged: classes instead of probabilities."""
    edit(folder, "python_function", predict_fn="predict")


# What is done, what MLflow's user then meets, and what ours says.
KINDS = {
    pickle_instead: ("code runs", "content of a file was changed"),
    pickle_beside: ("code runs", "model.pkl does not belong there"),
    loader_injected: ("code runs", "code/helpful.py does not belong there"),
    own_types: ("code runs", "content of a file was changed"),
    one_bit: ("other predictions", "content of a file was changed"),
    description_edited: ("other predictions", "content of a file was changed"),
    extra_file: ("loads", "notes.py does not belong there"),
    missing_file: ("loads", "python_env.yaml is missing"),
    linked_file: ("loads", "model.skops is a link"),
}


def stock(story: Story, rows):
    """Load the champion as MLflow's documentation says, and predict."""
    import mlflow

    mlflow.set_tracking_uri(story.home.settings.tracking_uri)
    mlflow.set_registry_uri(story.home.settings.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        model = mlflow.pyfunc.load_model("models:/toy@champion")
        return np.asarray(model.predict(rows))


def stock_loads(story: Story, rows):
    """What stock loading comes to: predictions, or the error after whatever has run until then."""
    try:
        return stock(story, rows)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def ours(story: Story):
    """Load the champion as every stage does, and try to put it to work."""
    with pytest.raises(UntrustedModel) as refused:
        story.model.champion().load(story.home)
    with pytest.raises(UntrustedModel):
        turn.score_newest(steps, story.model, NOW)
    problems = verify({"toy": story.config}, story.home).problems
    return str(refused.value), [str(p) for p in problems]


def served(story: Story):
    """Go back to the last good champion, and score."""
    before = story.model.champion()
    roll_back(story.model, None, "Ann", "its files were touched")
    require_settled(story.model)
    assert turn.score_newest(steps, story.model, NOW).version == before.version - 1


def place(story: Story) -> Path:
    """Where the champion's files lie."""
    uri = Path(story.model.champion().uri)
    return Path(story.home.settings.artifact_root, *uri.parts[-4:])


@pytest.fixture
def rows(homes):
    week = homes.two.frame.iloc[-50:]
    return week[["x", "z", "group"]].astype({"x": float, "z": float, "group": object}).reset_index(drop=True)


@pytest.fixture(scope="module")
def untouched(homes, tmp_path_factory):
    """What the champion predicts by MLflow's own loader, before anybody has touched it."""
    week = homes.two.frame.iloc[-50:]
    rows = week[["x", "z", "group"]].astype({"x": float, "z": float, "group": object}).reset_index(drop=True)
    return forked(stock, copied(homes.two, tmp_path_factory.mktemp("untouched") / "copy"), rows)


@pytest.mark.parametrize("harm", KINDS, ids=lambda h: h.__name__)
def test_tampered_files_are_taken_by_mlflow_and_refused_by_us(homes, untouched, tmp_path, rows, harm):
    story = copied(homes.two, tmp_path / "copy")
    happens, said = KINDS[harm]
    canary = tmp_path / "canary"
    harm(forked(place, story), canary)
    refused, problems = forked(ours, story)
    assert not canary.exists()
    assert said in refused
    assert "the model was not loaded" in refused
    assert "trueup rollback" in refused
    assert any("version 2 of toy" in p and said in p for p in problems)
    found = forked(stock_loads, story, rows)
    if happens == "code runs":
        assert canary.exists(), found
    elif happens == "other predictions":
        assert found.shape != untouched.shape or not np.allclose(found, untouched)
    else:
        np.testing.assert_array_equal(found, untouched)
    forked(served, story)


def loads(story: Story):
    story.model.champion().load(story.home)
    assert verify({"toy": story.config}, story.home).problems == ()
    return (place(story) / "registered_model_meta").exists()


def test_what_mlflow_leaves_beside_a_model_that_it_loads_is_no_tampering(homes, untouched, tmp_path, rows):
    story = copied(homes.two, tmp_path / "copy")
    np.testing.assert_array_equal(forked(stock, story, rows), untouched)
    assert forked(loads, story)


def alias_moved(story: Story):
    """Somebody points MLflow's alias at the old version."""
    story.home.tracking.client.set_registered_model_alias("toy", "champion", "1")


def noticed(story: Story):
    """It is said, not served, and set right."""
    (problem,) = verify({"toy": story.config}, story.home).problems
    assert overview(story.model).alias_agrees is False
    story.home.tracking.client.set_registered_model_alias("toy", "champion", "1")  # a look sets it right
    scored = turn.score_newest(steps, story.model, NOW)
    assert reconcile(story.model).alias == 2
    require_settled(story.model)
    return scored.version, str(problem)


def test_an_alias_moved_behind_the_ledgers_back_is_noticed_and_not_served(homes, untouched, tmp_path, rows):
    story = copied(homes.two, tmp_path / "copy")
    forked(alias_moved, story)
    assert not np.allclose(forked(stock, story, rows), untouched)  # MLflow's user gets the other model, and no word
    version, problem = forked(noticed, story)
    assert version == 2
    assert "MLflow's alias names version 1" in problem


def version_deleted(story: Story):
    """Somebody deletes the champion's version in MLflow, which takes the alias along."""
    story.home.tracking.client.delete_model_version("toy", "2")


def goes_on(story: Story):
    """The champion serves on from its checked files; everybody who looks is told."""
    (problem,) = verify({"toy": story.config}, story.home).problems
    scored = turn.score_newest(steps, story.model, NOW)
    with pytest.raises(RegistryUnavailable) as alarm:
        reconcile(story.model)
    return scored.version, str(problem), str(alarm.value)


def test_of_a_deleted_version_the_champion_serves_on_and_it_is_said(homes, tmp_path, rows):
    story = copied(homes.two, tmp_path / "copy")
    forked(version_deleted, story)
    assert "not found" in forked(stock_loads, story, rows)
    version, problem, alarm = forked(goes_on, story)
    assert version == 2
    assert "MLflow's alias names nothing" in problem
    assert "version 2, the ledger's champion, is missing in MLflow: somebody deleted it" in alarm
    forked(served, story)
