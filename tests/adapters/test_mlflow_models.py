"""Models on a real MLflow registry: what is written is MLflow's, what is loaded is what the digest says."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.free import free_port
from trueup.adapters.mlflow import model_files
from trueup.adapters.mlflow.model_files import FILES, ONNX_FILE, FreshProcess, manifest
from trueup.adapters.mlflow.models import Registry
from trueup.adapters.mlflow.runs import Tracking
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import build, fit, predict
from trueup.domain.learning.recipe import TRUSTED_TYPES, Recipe
from trueup.errors import RegistryUnavailable, UntrustedModel

SCHEMA = FeatureSchema(("distance", "wind"), ("carrier",))
PARAMETERS = {"gradient_boosting": {"max_iter": 5}, "linear": {}, "forest": {"n_estimators": 3}}


def frame(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "distance": rng.normal(size=rows),
            "wind": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)).astype("float32"),
            "carrier": pd.Categorical(rng.choice(["AA", "UA", "B6"], rows)),
        }
    )


def fitted(family="linear", task=Task.BINARY, seed=0):
    X = frame(seed=seed)
    score = X["distance"] + np.random.default_rng(seed).normal(size=len(X))
    labels = {
        Task.BINARY: (score > 0).astype(float),
        Task.REGRESSION: score,
        Task.MULTICLASS: pd.cut(score, [-np.inf, -0.5, 0.5, np.inf], labels=["low", "mid", "high"]).astype(str),
    }
    return fit(build(Recipe(family, PARAMETERS[family], seed), SCHEMA, task), X, labels[task])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return Tracking(f"sqlite:///{home}/mlflow.db", home / "mlartifacts")


@pytest.fixture(scope="module")
def registry(tracking):
    return Registry(tracking)


@pytest.fixture
def logged(tracking, registry):
    with tracking.run("flights", "challenger") as run_id:
        return registry.log(fitted(), SCHEMA, Task.BINARY, run_id, {"rows": 200})


@pytest.fixture
def copy(logged, tmp_path):
    """The files of a logged model, to be tampered with."""
    return Path(shutil.copytree(logged.uri, tmp_path / "model"))


class TestLogAndLoad:
    @pytest.mark.parametrize("task", Task)
    @pytest.mark.parametrize("family", PARAMETERS)
    def test_a_loaded_model_predicts_the_same(self, tracking, registry, family, task):
        model = fitted(family, task)
        with tracking.run("flights", "x") as run_id:
            ref = registry.log(model, SCHEMA, task, run_id)
        X = frame(seed=1)
        np.testing.assert_array_equal(
            predict(registry.load(ref.uri, ref.manifest_digest), X, task), predict(model, X, task)
        )

    def test_mlflow_shows_and_loads_what_was_logged(self, tracking, registry, logged):
        import mlflow

        version = registry.register("flights_shown", logged.uri, {"trueup.role": "judged"})
        client = tracking.client
        assert client.get_logged_model(logged.model_id).status == "READY"
        assert client.get_logged_model(logged.model_id).source_run_id == logged.run_id
        assert [o.model_id for o in client.get_run(logged.run_id).outputs.model_outputs] == [logged.model_id]
        shown = client.get_model_version("flights_shown", str(version))
        assert (shown.status, shown.run_id, shown.tags) == ("READY", logged.run_id, {"trueup.role": "judged"})
        place = client.get_model_version_download_uri("flights_shown", str(version))
        X = frame(seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own
            as_sklearn = mlflow.sklearn.load_model(place)
            as_function = mlflow.pyfunc.load_model(place)
            answer = as_function.predict(X.astype({"carrier": object}))  # text: MLflow has no word for categories
        np.testing.assert_array_equal(as_sklearn.predict_proba(X), answer)
        np.testing.assert_array_equal(answer[:, 1], predict(fitted(), X, Task.BINARY))
        assert as_function.metadata.metadata == {"rows": 200}

    def test_the_files_are_those_that_mlflow_would_write(self, logged, tmp_path):
        import mlflow.sklearn
        from mlflow.models import Model, ModelSignature

        ours, theirs = Path(logged.uri), tmp_path / "theirs"
        described = Model.load(str(ours))
        requirements = (ours / "requirements.txt").read_text().splitlines()
        mlflow.sklearn.save_model(
            fitted(),
            str(theirs),
            mlflow_model=Model(artifact_path=logged.uri, run_id=logged.run_id, model_id=logged.model_id),
            serialization_format="skops",
            skops_trusted_types=list(TRUSTED_TYPES),
            pip_requirements=requirements,
            signature=ModelSignature(described.signature.inputs, described.signature.outputs),
            pyfunc_predict_fn="predict_proba",
            metadata={"rows": 200},
        )
        assert {p.name for p in theirs.iterdir()} == {p.name for p in ours.iterdir()} == set(FILES)
        read = [yaml.safe_load((folder / "MLmodel").read_text()) for folder in (ours, theirs)]
        for changing in ("model_uuid", "utc_time_created", "model_size_bytes"):
            assert {changing in r for r in read} == {True}
            for r in read:
                del r[changing]
        assert read[0] == read[1]
        assert (theirs / "requirements.txt").read_text().splitlines() == requirements
        for name in ("conda.yaml", "python_env.yaml"):
            written = [yaml.safe_load((folder / name).read_text()) for folder in (ours, theirs)]
            assert written[0].keys() == written[1].keys()

    def test_a_model_with_foreign_types_leaves_nothing(self, tracking, registry):
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.pipeline import make_pipeline

        class Mine(GaussianProcessRegressor):
            pass

        with tracking.run("foreign", "x") as run_id:
            model = make_pipeline(Mine().fit([[0.0], [1.0]], [0, 1]))
            with pytest.raises(UntrustedModel, match=r"types that are not trusted: .*Mine"):
                registry.log(model, SCHEMA, Task.REGRESSION, run_id)
        experiment = tracking.client.get_experiment_by_name("foreign").experiment_id
        assert tracking.client.search_logged_models([experiment]) == []


class TestVersions:
    def test_a_model_gets_one_version_of_a_name(self, tracking, registry, logged):
        first = registry.register("once", logged.uri)
        assert registry.register("once", logged.uri) == first == 1
        with tracking.run("flights", "second") as run_id:
            other = registry.log(fitted(seed=1), SCHEMA, Task.BINARY, run_id)
        assert registry.register("once", other.uri, {"a": "b"}) == 2
        assert [(v.version, v.run_id, v.uri, v.tags) for v in registry.versions("once")] == [
            (1, logged.run_id, logged.uri, {}),
            (2, run_id, other.uri, {"a": "b"}),
        ]
        assert registry.versions("never") == []

    def test_two_models_of_one_run_get_two_versions(self, tracking, registry):
        with tracking.run("flights", "judged and refitted") as run_id:
            refs = [registry.log(fitted(seed=s), SCHEMA, Task.BINARY, run_id) for s in (0, 1)]
        assert [registry.register("pair", r.uri) for r in refs] == [1, 2]

    @pytest.mark.parametrize("status", ["PENDING", "FAILED"])
    def test_an_upload_that_never_ended_gets_no_version(self, tracking, registry, status):
        client = tracking.client
        with tracking.run("flights", "killed") as run_id:
            experiment = client.get_run(run_id).info.experiment_id
            half = client.create_logged_model(experiment, "model", run_id)
        if status == "FAILED":
            client.finalize_logged_model(half.model_id, "FAILED")
        with pytest.raises(UntrustedModel, match=f"{status}, its upload never ended"):
            registry.register("half", half.artifact_location)
        assert registry.versions("half") == []

    def test_only_what_was_logged_can_be_registered(self, registry, tmp_path):
        with pytest.raises(UntrustedModel, match="not the URI of a logged model"):
            registry.register("flights", str(tmp_path))

    def test_the_alias_is_set_again_and_again(self, tracking, registry, logged):
        version = registry.register("served", logged.uri)
        assert registry.champion_alias("nobody") is None
        assert registry.champion_alias("served") is None
        assert not registry.alias_agrees("served", version)
        for _ in range(2):
            registry.set_champion_alias("served", version)
        assert registry.champion_alias("served") == version
        assert tracking.client.get_model_version_by_alias("served", "champion").version == version

    def test_an_alias_moved_behind_our_back_is_noticed(self, tracking, registry, logged):
        first = registry.register("moved", logged.uri)
        with tracking.run("flights", "other") as run_id:
            second = registry.register("moved", registry.log(fitted(seed=1), SCHEMA, Task.BINARY, run_id).uri)
        registry.set_champion_alias("moved", first)
        assert registry.alias_agrees("moved", first)
        tracking.client.set_registered_model_alias("moved", "champion", str(second))
        assert not registry.alias_agrees("moved", first)
        registry.set_champion_alias("moved", first)
        tracking.client.delete_model_version("moved", str(first))
        assert not registry.alias_agrees("moved", first)

    def test_an_alias_cannot_name_a_version_that_is_not_there(self, registry, logged):
        registry.register("short", logged.uri)
        with pytest.raises(RegistryUnavailable, match="is missing in MLflow"):
            registry.set_champion_alias("short", 9)


class TestOnnxForm:
    """A file beside the others, under the same digest; models without one stay as they were."""

    @pytest.fixture
    def with_form(self, tracking, registry):
        with tracking.run("flights", "challenger") as run_id:
            return registry.log(fitted(), SCHEMA, Task.BINARY, run_id, files={ONNX_FILE: b"the form"})

    def test_it_is_read_as_it_was_written_and_the_model_loads(self, registry, with_form):
        assert registry.onnx(with_form.uri, with_form.manifest_digest) == b"the form"
        registry.check(with_form.uri, with_form.manifest_digest)
        X = frame(seed=1)
        model = registry.load(with_form.uri, with_form.manifest_digest)
        np.testing.assert_array_equal(predict(model, X, Task.BINARY), predict(fitted(), X, Task.BINARY))

    def test_a_model_without_one_has_none_and_loads(self, registry, logged):
        assert registry.onnx(logged.uri, logged.manifest_digest) is None
        assert {name for name, _, _ in manifest(Path(logged.uri)).files} == set(FILES)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda file: flip_a_bit(file), "content of a file was changed"),
            (lambda file: file.unlink(), r"or model\.onnx was removed"),
            (lambda file: file.rename(file.with_name("other.onnx")), r"other\.onnx does not belong there"),
        ],
    )
    def test_a_touched_one_is_refused_and_so_is_the_model(self, registry, with_form, change, said):
        change(Path(with_form.uri) / ONNX_FILE)
        for use in (registry.onnx, registry.load, registry.check):
            with pytest.raises(UntrustedModel, match=said):
                use(with_form.uri, with_form.manifest_digest)

    def test_it_is_deleted_with_its_model(self, registry, with_form):
        registry.delete_model(with_form.model_id)
        assert not (Path(with_form.uri) / ONNX_FILE).exists()

    def test_one_that_was_added_later_is_refused(self, registry, logged):
        (Path(logged.uri) / ONNX_FILE).write_bytes(b"foreign")
        with pytest.raises(UntrustedModel, match=r"or model\.onnx was added"):
            registry.onnx(logged.uri, logged.manifest_digest)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return (open, (self.file, "w"))


def test_an_estimator_of_no_family_is_not_trusted(tmp_path):
    """In a process of its own, because tests import skops with all of scikit-learn."""
    code = f"""
import sys
from pathlib import Path
from trueup.adapters.mlflow import model_files
from trueup.errors import UntrustedModel
model_files._skops()
assert not {{"sklearn.neural_network", "sklearn.gaussian_process", "pytest"}} & set(sys.modules)
from sklearn.pipeline import make_pipeline
from sklearn.neural_network import MLPClassifier
try:
    model_files.dump(make_pipeline(MLPClassifier()), Path({str(tmp_path)!r}))
except UntrustedModel as refused:
    sys.exit("MLPClassifier" not in str(refused))
sys.exit("it was trusted")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


class TestTampering:
    """Each leaves a folder that differs from what the ledger's digest stands for, and none may be loaded."""

    def test_the_copy_itself_is_fine(self, copy, logged):
        assert manifest(copy).digest == logged.manifest_digest
        assert model_files.load(copy, logged.manifest_digest) is not None

    @pytest.mark.parametrize("name", FILES)
    def test_a_flipped_bit(self, copy, logged, name):
        flip_a_bit(copy / name)
        with pytest.raises(UntrustedModel, match="content of a file was changed"):
            model_files.load(copy, logged.manifest_digest)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, copy, logged, name):
        (copy / name).unlink()
        with pytest.raises(UntrustedModel, match=f"{name} is missing"):
            model_files.load(copy, logged.manifest_digest)

    @pytest.mark.parametrize("name", ["model.pkl", "code/sklearn.py", ".hidden"])
    def test_an_extra_file(self, copy, logged, name):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("import os")
        with pytest.raises(UntrustedModel, match=f"{name} does not belong there.*; put its files back"):
            model_files.load(copy, logged.manifest_digest)

    @pytest.mark.parametrize("name", FILES)
    def test_a_link_to_the_same_content(self, copy, logged, name):
        (copy / name).rename(copy.parent / name)
        (copy / name).symlink_to(copy.parent / name)
        with pytest.raises(UntrustedModel, match=f"{name} is a link"):
            model_files.load(copy, logged.manifest_digest)

    def test_a_link_to_a_folder(self, copy, logged, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (copy / "code").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UntrustedModel, match="code is a link"):
            model_files.load(copy, logged.manifest_digest)

    def test_something_that_is_no_file(self, copy, logged):
        os.mkfifo(copy / "pipe")
        with pytest.raises(UntrustedModel, match="pipe is not a plain file"):
            model_files.load(copy, logged.manifest_digest)

    def test_a_pickle_in_place_of_the_model_runs_no_code(self, copy, logged, tmp_path):
        trap = tmp_path / "sprung"
        (copy / "model.skops").write_bytes(pickle.dumps(Trap(trap)))
        (copy / "model.pkl").write_bytes(pickle.dumps(Trap(trap)))
        described = yaml.safe_load((copy / "MLmodel").read_text())
        described["flavors"]["sklearn"] |= {"pickled_model": "model.pkl", "serialization_format": "pickle"}
        (copy / "MLmodel").write_text(yaml.safe_dump(described))
        for digest in (logged.manifest_digest, manifest(copy).digest):  # even if the ledger were fooled
            with pytest.raises(UntrustedModel):
                model_files.load(copy, digest)
        assert not trap.exists()
        pickle.loads((copy / "model.pkl").read_bytes()).close()  # the trap works
        assert trap.exists()

    def test_an_edited_mlmodel_changes_nothing_that_is_loaded(self, copy):
        described = yaml.safe_load((copy / "MLmodel").read_text())
        described["flavors"]["python_function"]["loader_module"] = "antigravity"
        described["flavors"]["sklearn"]["skops_trusted_types"] = ["os.system"]
        (copy / "MLmodel").write_text(yaml.safe_dump(described))
        X = frame()
        model = model_files.load(copy, manifest(copy).digest)
        np.testing.assert_array_equal(predict(model, X, Task.BINARY), predict(fitted(), X, Task.BINARY))

    def test_a_folder_that_is_gone(self, registry, logged, tmp_path):
        with pytest.raises(UntrustedModel, match="MLmodel is missing"):
            registry.load(str(tmp_path / "gone"), logged.manifest_digest)

    def test_another_model_in_its_place(self, tracking, registry, logged):
        with tracking.run("flights", "other") as run_id:
            other = registry.log(fitted(), SCHEMA, Task.BINARY, run_id)
        assert other.manifest_digest != logged.manifest_digest
        with pytest.raises(UntrustedModel):
            registry.load(other.uri, logged.manifest_digest)


class TestFreshProcess:
    def test_it_predicts_the_same_refuses_tampering_and_goes_on(self, logged, copy, tmp_path):
        X = frame(seed=3)
        rows = tmp_path / "rows.parquet"
        X.assign(row_id=range(len(X))).to_parquet(rows)
        flip_a_bit(copy / "model.skops")
        with FreshProcess() as fresh:
            for _ in range(2):
                found = fresh.predict(Path(logged.uri), logged.manifest_digest, rows, Task.BINARY)
                np.testing.assert_array_equal(found, predict(fitted(), X, Task.BINARY))
            with pytest.raises(UntrustedModel, match=r"in a fresh process .* content of a file was changed"):
                fresh.predict(copy, logged.manifest_digest, rows, Task.BINARY)
            with pytest.raises(UntrustedModel, match=r"gone\.parquet"):
                fresh.predict(Path(logged.uri), logged.manifest_digest, tmp_path / "gone.parquet", Task.BINARY)
            with pytest.raises(UntrustedModel, match="no answer within 0 s"):
                fresh.predict(Path(logged.uri), logged.manifest_digest, rows, Task.BINARY, timeout=0)
            with pytest.raises(UntrustedModel, match="it ended with code -9"):
                fresh.predict(Path(logged.uri), logged.manifest_digest, rows, Task.BINARY)


def test_a_registry_that_is_not_there():
    port = free_port()
    with pytest.raises(RegistryUnavailable, match="Connection refused; start it"):
        Registry(Tracking(f"http://127.0.0.1:{port}", "/nowhere")).set_champion_alias("flights", 1)
