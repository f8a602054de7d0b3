"""MLflow's models: logged beside their run, registered as versions, with an alias for the champion.

The files are those of `mlflow.sklearn.log_model` with skops, so that MLflow's interface shows them and its own
functions load them; a test compares the two. They are written here because MLflow's function also loads the model again
and reads the metadata of every installed package, which takes longer than everything else. Trueup itself never loads
through MLflow: see `model_files.load`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
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
from trueup.adapters.onnx import ONNX_FILE
from trueup.config import yaml_text
from trueup.config.tasks import Task
from trueup.crash import reach
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.recipe import TRUSTED_TYPES, is_lightgbm
from trueup.errors import RegistryUnavailable, UntrustedModel

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from sklearn.pipeline import Pipeline

CHAMPION = "champion"
_OF_SERVERS = ("mlflow-artifacts", "http", "https")  # places that a server of MLflow knows
_REQUIRED = ("mlflow", "scikit-learn", "skops", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class ModelRef:
    """A logged model: the place of its files, and the digest over them for the ledger."""

    model_id: str
    run_id: str
    uri: str  # the folder with its files
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
    """Models of the MLflow behind `tracking`. Methods raise RegistryUnavailable."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    def log(
        self,
        model: Pipeline,
        schema: FeatureSchema,
        task: Task,
        run_id: str,
        metadata: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> ModelRef:
        """Write a fitted pipeline beside its run. It becomes ready, without a version, once all files are there.

        `metadata` are plain values for the MLmodel file, `files` further files by name; the digest covers them, too.
        Raises UntrustedModel for a pipeline that could not be loaded again.
        """
        with tempfile.TemporaryDirectory(prefix="trueup-log-") as private, self._tracking.answering():
            folder = Path(private)
            model_files.dump(model, folder)
            for name, content in (files or {}).items():
                (folder / name).write_bytes(content)
            signature = _signature(model, schema, task)
            return self._upload(
                folder, task, run_id, lambda logged: _describe(folder, logged, model, signature, task, metadata or {})
            )

    def adopt(self, folder: Path, expected_digest: str, task: Task, run_id: str) -> ModelRef:
        """Write the files of a model that was logged elsewhere beside a run, as they are, so that their digest stays.

        Raises UntrustedModel if they do not match the digest.
        """
        model_files.check(folder, expected_digest)
        with self._tracking.answering():
            return self._upload(folder, task, run_id, lambda _: None)

    def _upload(self, folder: Path, task: Task, run_id: str, describe: Callable[[LoggedModel], None]) -> ModelRef:
        """Write a folder's files beside a run, once `describe` has added those that name the logged model."""
        from mlflow.entities import LoggedModelOutput

        client = self._tracking.client
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, "model", run_id, model_type=task.value)
        reach("upload.begun")
        try:
            describe(logged)
            digest = model_files.manifest(folder).digest
            client.log_model_artifacts(logged.model_id, str(folder))
            reach("upload.files")
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
        except Exception:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        reach("model.logged")
        return ModelRef(logged.model_id, run_id, logged.artifact_location, digest)

    def register(self, name: str, uri: str, tags: Mapping[str, str] | None = None) -> int:
        """Create a version of a logged model; an existing version of that name is kept.

        Raises UntrustedModel for an incomplete upload, which MLflow itself would accept.
        """
        client = self._tracking.client
        with self._tracking.answering():
            logged = client.get_logged_model(_model_id(uri))
            if logged.status != "READY":
                raise UntrustedModel(
                    f"{uri}: the model is {logged.status}, its upload never ended; it gets no version; train again"
                )
            existing = client.search_model_versions(f"run_id='{logged.source_run_id}'")
            for version in existing:
                if (version.name, version.source) == (name, uri):
                    return int(version.version)
            number = self._create_version(name, logged, dict(tags or {}))
            reach("register.version")
            self._link(logged, name, number)
            return number

    def load(self, uri: str, expected_digest: str) -> Pipeline:
        """Load the fitted pipeline at `uri` after checking its files against the digest. Raises UntrustedModel."""
        with self.files(uri) as folder:
            return model_files.load(folder, expected_digest, uri)

    def check(self, uri: str, expected_digest: str) -> None:
        """Compare the files at `uri` with the digest without loading. Raises UntrustedModel."""
        with self.files(uri) as folder:
            model_files.check(folder, expected_digest, uri)

    def onnx(self, uri: str, expected_digest: str) -> bytes | None:
        """The ONNX form at `uri` after checking all files against the digest; None if the model has none.

        Raises UntrustedModel.
        """
        with self.files(uri) as folder:
            return model_files.read(folder, ONNX_FILE, expected_digest, uri)

    @contextmanager
    def files(self, uri: str) -> Iterator[Path]:
        """A folder with the files at `uri`: local files themselves, else a copy for the duration of the block."""
        uri = self._place(uri)
        parts = urlsplit(uri)
        if parts.scheme in ("", "file"):
            yield Path(unquote(parts.path) if parts.scheme else uri)
            return
        client = self._tracking.client
        with tempfile.TemporaryDirectory(prefix="trueup-fetch-") as private:
            with self._tracking.answering():
                from mlflow.artifacts import download_artifacts

                copy = download_artifacts(artifact_uri=uri, dst_path=private, tracking_uri=client.tracking_uri)
            yield Path(copy)

    def _place(self, uri: str) -> str:
        """Where a model's files are: below the current artifact root if they are there, as in a home that was moved.

        The recorded place proves nothing; the digest does.
        """
        root, parts = self._tracking.artifact_root, urlsplit(uri)
        if parts.scheme in _OF_SERVERS or uri.startswith(f"{root}/"):
            return uri
        recorded = unquote(parts.path) if parts.scheme == "file" else uri
        moved = "/".join([root, *recorded.rstrip("/").split("/")[-4:]])  # experiment, models, id, artifacts
        if not urlsplit(root).scheme:
            return moved if Path(moved).is_dir() else uri
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._tracking.answering():
            there = get_artifact_repository(moved, tracking_uri=self._tracking.uri).list_artifacts()
        return moved if there else uri

    def versions(self, name: str) -> list[Version]:
        """All versions of a name, oldest first; none for an unknown name."""
        versions: list[Version] = []
        token: str | None = None
        with self._tracking.answering():
            while True:
                page = self._tracking.client.search_model_versions(f"name='{name}'", page_token=token)
                versions += [Version(int(v.version), v.run_id, v.source, dict(v.tags)) for v in page]
                token = page.token
                if not token:
                    return sorted(versions, key=lambda v: v.version)

    def versions_of_run(self, run_id: str) -> list[tuple[str, int]]:
        """Name and number of every version of a run's models, under any name."""
        with self._tracking.answering():
            versions = self._tracking.client.search_model_versions(f"run_id='{run_id}'")
            return [(str(v.name), int(v.version)) for v in versions]

    def models_of_run(self, run_id: str) -> list[str]:
        """Ids of the models logged beside a run, including incomplete uploads."""
        client = self._tracking.client
        with self._tracking.answering():
            experiment = client.get_run(run_id).info.experiment_id
            models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
            return [str(logged.model_id) for logged in models]

    def delete_version(self, name: str, version: int) -> None:
        with self._tracking.answering():
            self._tracking.client.delete_model_version(name, str(version))

    def delete_model(self, model_id: str) -> None:
        """Remove a logged model's files, then mark it as deleted, so that an interrupted removal is found again."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        client = self._tracking.client
        with self._tracking.answering():
            place = client.get_logged_model(model_id).artifact_location
            get_artifact_repository(place, tracking_uri=self._tracking.uri).delete_artifacts()
            client.delete_logged_model(model_id)

    def set_champion_alias(self, name: str, version: int) -> None:
        """Point MLflow's alias at a version. Idempotent. The ledger decides; the alias only shows it."""
        from mlflow.exceptions import MlflowException

        with self._tracking.answering():
            try:
                self._tracking.client.set_registered_model_alias(name, CHAMPION, str(version))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise RegistryUnavailable(
                    f"{name}: version {version}, the ledger's champion, is missing in MLflow: somebody deleted "
                    "it. It keeps serving while its files are intact; use another one with `trueup "
                    "rollback`, or train one with `trueup retrain`"
                ) from None
        reach("alias.set")

    def champion_alias(self, name: str) -> int | None:
        """The alias's version, or None: no such model, no alias, or a deleted version."""
        return self.aliases(name).get(CHAMPION)

    def aliases(self, name: str) -> dict[str, int]:
        """All aliases of a name and their versions; none for an unknown name."""
        if (look := self._tracking.look) is not None:
            return look.aliases(name)
        from mlflow.exceptions import MlflowException

        with self._tracking.answering():
            try:
                aliases = self._tracking.client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {str(alias): int(version) for alias, version in aliases.items()}

    def alias_agrees(self, name: str, version: int) -> bool:
        """Whether the alias names the ledger's champion; otherwise somebody moved it, or it is not written yet."""
        return self.champion_alias(name) == version

    def _create_version(self, name: str, logged: LoggedModel, tags: dict[str, str]) -> int:
        from mlflow.exceptions import MlflowException

        client = self._tracking.client

        def create() -> int:
            # The address of the files, because MLflow resolves `models:/<id>` through its global address.
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
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # otherwise another process was faster
                raise
        return create()

    def _link(self, logged: LoggedModel, name: str, version: int) -> None:
        """Show a version on MLflow's page of the logged model, as MLflow's own registration does."""
        versions = [*json.loads(logged.tags.get("mlflow.modelVersions", "[]")), {"name": name, "version": version}]
        self._tracking.client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": json.dumps(versions)})


def _model_id(uri: str) -> str:
    if (match := re.search(r"/(m-[0-9a-f]{32})/artifacts/?$", uri)) is None:
        raise UntrustedModel(f"{uri}: not the URI of a logged model; register the result of `log`")
    return match[1]


def _signature(model: Pipeline, schema: FeatureSchema, task: Task) -> ModelSignature:
    """Inputs and outputs from the schema, without a prediction."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs = [ColSpec("double", c) for c in schema.numeric] + [ColSpec("string", c) for c in schema.categorical]
    shape = (-1,) if task is Task.REGRESSION else (-1, len(model.classes_))
    return ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype("float64"), shape)]))


def _describe(
    folder: Path,
    logged: LoggedModel,
    fitted: Pipeline,
    signature: ModelSignature,
    task: Task,
    metadata: Mapping[str, Any],
) -> None:
    """Write MLflow's files beside the model: its description and environment, with given requirements."""
    from mlflow.models import Model

    family = ["lightgbm"] if is_lightgbm(fitted[-1]) else []
    requirements = [f"{name}=={installed(name)}" for name in [*_REQUIRED, *family]]
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
