"""MLflow's models: logged beside their run, given a version, and the champion named by an alias.

What is written is what `mlflow.sklearn.log_model` with skops writes, so that MLflow's interface shows it and its own
functions load it; a test holds the two against each other. It is written here because MLflow's way loads the model
again and reads the metadata of every installed package, more than the rest together. Trueup itself never loads
through MLflow: see `model_files.load`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from trueup.adapters.mlflow import model_files
from trueup.adapters.mlflow.model_files import FORMAT, MODEL_FILE
from trueup.adapters.mlflow.runs import Tracking
from trueup.config import yaml_text
from trueup.config.tasks import Task
from trueup.crash import reach
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.recipe import TRUSTED_TYPES
from trueup.errors import RegistryUnavailable, UntrustedModel

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from sklearn.pipeline import Pipeline

CHAMPION = "champion"
_REQUIRED = ("mlflow", "scikit-learn", "skops", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class ModelRef:
    """A logged model: where its files are, and the digest over them that the ledger keeps."""

    model_id: str
    run_id: str
    uri: str  # of the folder with its files
    manifest_digest: str
    format: str = FORMAT


@dataclass(frozen=True)
class Version:
    """A version in the registry."""

    version: int
    run_id: str
    uri: str
    tags: dict[str, str]


class Registry:
    """Models of the MLflow that `tracking` speaks to. Methods raise RegistryUnavailable."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    def log(
        self,
        model: Pipeline,
        schema: FeatureSchema,
        task: Task,
        run_id: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> ModelRef:
        """Write a fitted pipeline beside its run. It is no version yet, and ready only once all files are there.

        `metadata` are plain values to be kept in the MLmodel file. Raises UntrustedModel for a pipeline that could not
        be loaded again.
        """
        from mlflow.entities import LoggedModelOutput

        client = self._tracking.client
        with tempfile.TemporaryDirectory(prefix="trueup-log-") as private, self._tracking.answering():
            folder = Path(private)
            model_files.dump(model, folder)
            experiment = client.get_run(run_id).info.experiment_id
            logged = client.create_logged_model(experiment, "model", run_id, model_type=task.value)
            reach("upload.begun")
            try:
                _describe(folder, logged, _signature(model, schema, task), task, metadata or {})
                digest = model_files.manifest(folder).digest
                client.log_model_artifacts(logged.model_id, private)
                reach("upload.files")
                client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
            except Exception:
                client.finalize_logged_model(logged.model_id, "FAILED")
                raise
            client.finalize_logged_model(logged.model_id, "READY")
            reach("model.logged")
            return ModelRef(logged.model_id, run_id, logged.artifact_location, digest)

    def register(self, name: str, uri: str, tags: Mapping[str, str] | None = None) -> int:
        """Give a logged model a version; a model that has one of that name keeps it.

        Raises UntrustedModel for one whose upload never ended: MLflow itself would call the version ready.
        """
        client = self._tracking.client
        with self._tracking.answering():
            logged = client.get_logged_model(_model_id(uri))
            if logged.status != "READY":
                raise UntrustedModel(
                    f"{uri}: the model is {logged.status}, its upload never ended; it gets no version; train again"
                )
            known = client.search_model_versions(f"run_id='{logged.source_run_id}'")
            for version in known:
                if (version.name, version.source) == (name, uri):
                    return int(version.version)
            number = self._create_version(name, logged, dict(tags or {}))
            reach("register.version")
            self._link(logged, name, number)
            return number

    def load(self, uri: str, expected_digest: str) -> Pipeline:
        """Load the fitted pipeline whose files lie at `uri`, checked against the digest. Raises UntrustedModel."""
        with self.files(uri) as folder:
            return model_files.load(folder, expected_digest, uri)

    def check(self, uri: str, expected_digest: str) -> None:
        """Compare the files at `uri` with the digest and load nothing. Raises UntrustedModel."""
        with self.files(uri) as folder:
            model_files.check(folder, expected_digest, uri)

    @contextmanager
    def files(self, uri: str) -> Iterator[Path]:
        """A folder with the files at `uri`: their own where they are local, else a copy for as long as the block."""
        parts = urlsplit(uri)
        if parts.scheme in ("", "file"):
            yield self._here(Path(unquote(parts.path) if parts.scheme else uri))
            return
        client = self._tracking.client
        with tempfile.TemporaryDirectory(prefix="trueup-fetch-") as private:
            with self._tracking.answering():
                from mlflow.artifacts import download_artifacts

                copy = download_artifacts(artifact_uri=uri, dst_path=private, tracking_uri=client.tracking_uri)
            yield Path(copy)

    def _here(self, folder: Path) -> Path:
        """A model's folder below the artifact root in force, if it is there: a home that was moved takes its models along.

        What its place was when it was written down is no proof of anything; the digest is.
        """
        moved = Path(self._tracking.artifact_root, *folder.parts[-4:])  # experiment, models, id, artifacts
        return moved if moved.is_dir() else folder

    def versions(self, name: str) -> list[Version]:
        """All versions of that name, oldest first; none for a name that does not exist."""
        found: list[Version] = []
        token: str | None = None
        with self._tracking.answering():
            while True:
                page = self._tracking.client.search_model_versions(f"name='{name}'", page_token=token)
                found += [Version(int(v.version), v.run_id, v.source, dict(v.tags)) for v in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda v: v.version)

    def versions_of_run(self, run_id: str) -> list[tuple[str, int]]:
        """Name and number of every version that was made of a run's models, under whatever name."""
        with self._tracking.answering():
            found = self._tracking.client.search_model_versions(f"run_id='{run_id}'")
            return [(str(v.name), int(v.version)) for v in found]

    def models_of_run(self, run_id: str) -> list[str]:
        """Ids of the models that were logged beside a run, those whose upload never ended included."""
        client = self._tracking.client
        with self._tracking.answering():
            experiment = client.get_run(run_id).info.experiment_id
            found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
            return [str(logged.model_id) for logged in found]

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version, and with it the aliases that name it."""
        with self._tracking.answering():
            self._tracking.client.delete_model_version(name, str(version))

    def delete_model(self, model_id: str) -> None:
        """Remove a logged model's files, then mark it as deleted: after a crash in between it is still found."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        client = self._tracking.client
        with self._tracking.answering():
            place = client.get_logged_model(model_id).artifact_location
            get_artifact_repository(place, tracking_uri=self._tracking.uri).delete_artifacts()
            client.delete_logged_model(model_id)

    def set_champion_alias(self, name: str, version: int) -> None:
        """Point MLflow's alias at a version; again changes nothing. The ledger decides, this only shows it."""
        from mlflow.exceptions import MlflowException

        with self._tracking.answering():
            try:
                self._tracking.client.set_registered_model_alias(name, CHAMPION, str(version))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise RegistryUnavailable(
                    f"{name}: version {version}, the champion by the ledger, is not found in MLflow: somebody deleted "
                    "it. It serves on for as long as its files are whole; put another into office with `trueup "
                    "rollback`, or train one with `trueup retrain`"
                ) from None
        reach("alias.set")

    def champion_alias(self, name: str) -> int | None:
        """The version that the alias names, or None: no such model, no alias, or the version was deleted."""
        return self.aliases(name).get(CHAMPION)

    def aliases(self, name: str) -> dict[str, int]:
        """All aliases of a name and the versions that they point at; none for a name that does not exist."""
        if (look := self._tracking.look) is not None:
            return look.aliases(name)
        from mlflow.exceptions import MlflowException

        with self._tracking.answering():
            try:
                found = self._tracking.client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {str(alias): int(version) for alias, version in found.items()}

    def alias_agrees(self, name: str, version: int) -> bool:
        """Say whether the alias names the ledger's champion; if not, somebody else moved it or it is not yet written."""
        return self.champion_alias(name) == version

    def _create_version(self, name: str, logged: LoggedModel, tags: dict[str, str]) -> int:
        from mlflow.exceptions import MlflowException

        client = self._tracking.client

        def create() -> int:
            # The address of the files, not `models:/<id>`: for that MLflow asks its global address instead of this one.
            source = {"source": logged.artifact_location, "run_id": logged.source_run_id, "model_id": logged.model_id}
            return int(client.create_model_version(name, **source, tags=tags, await_creation_for=0).version)

        try:
            return create()
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else another process was faster
                raise
        return create()

    def _link(self, logged: LoggedModel, name: str, version: int) -> None:
        """Let MLflow's page of the logged model name its version, as its own registration does."""
        versions = [*json.loads(logged.tags.get("mlflow.modelVersions", "[]")), {"name": name, "version": version}]
        self._tracking.client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": json.dumps(versions)})


def _model_id(uri: str) -> str:
    if (found := re.search(r"/(m-[0-9a-f]{32})/artifacts/?$", uri)) is None:
        raise UntrustedModel(f"{uri}: not the place of a model that was logged in MLflow; register what `log` gave")
    return found[1]


def _signature(model: Pipeline, schema: FeatureSchema, task: Task) -> ModelSignature:
    """What goes in and comes out, told by the schema: nothing is predicted to find out."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs = [ColSpec("double", c) for c in schema.numeric] + [ColSpec("string", c) for c in schema.categorical]
    shape = (-1,) if task is Task.REGRESSION else (-1, len(model.classes_))
    return ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype("float64"), shape)]))


def _describe(
    folder: Path, logged: LoggedModel, signature: ModelSignature, task: Task, metadata: Mapping[str, Any]
) -> None:
    """Write MLflow's files beside the model: what it is, and the environment it needs. Requirements are given."""
    from mlflow.models import Model

    requirements = [f"{name}=={installed(name)}" for name in _REQUIRED]
    described = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=logged.source_run_id,
        model_id=logged.model_id,
        signature=signature,
        metadata=dict(metadata) or None,
    )
    described.add_flavor(
        "python_function",
        loader_module="mlflow.sklearn",
        model_path=MODEL_FILE,
        predict_fn="predict" if task is Task.REGRESSION else "predict_proba",
        python_version=python_version(),
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    described.add_flavor(
        "sklearn",
        pickled_model=MODEL_FILE,
        sklearn_version=installed("scikit-learn"),
        serialization_format=FORMAT,
        skops_trusted_types=list(TRUSTED_TYPES),
        code=None,
    )
    described.model_size_bytes = (folder / MODEL_FILE).stat().st_size
    described.save(str(folder / "MLmodel"))
    packages = [f"python={python_version()}", "pip", {"pip": requirements}]
    conda = {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": packages}
    environment = {
        "python": python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "conda.yaml").write_text(yaml_text.write(conda))
    (folder / "python_env.yaml").write_text(yaml_text.write(environment))
    (folder / "requirements.txt").write_text("\n".join(requirements))
