"""Locations and secrets, from the environment. Secrets are never in a model's YAML."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trueup.config.durations import Duration
from trueup.config.places import folder_of_home, is_address, require_encrypted, require_shared
from trueup.errors import ConfigError
from trueup.secrecy import masked

# Flows read the home's files, so they run without these.
OPTIONAL_SERVERS = frozenset({"mlflow", "evidently", "reports", "serve", "ui"})


_STORE = re.compile(r"(s3|gs|gcs|abfs|abfss)://[^/]+(/.*)?")


def _address_or_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Settings(BaseSettings):
    """Locations and addresses, each from the variable `TRUEUP_<NAME>`. The defaults need no server."""

    model_config = SettingsConfigDict(
        env_prefix="TRUEUP_", frozen=True, validate_default=True, hide_input_in_errors=True
    )

    home: Annotated[str, BeforeValidator(_address_or_path)] = Field(
        ".trueup",
        description="Folder for everything that Trueup writes, or an address in an object store, such as `s3://bucket/prefix`; see docs/how-to/object-store.md.",
    )
    cache: Path | None = Field(
        None,
        description="With a home in an object store: folder on this machine for copies of its files, and for what is of this machine only. Default: `trueup` in the user's cache folder.",
    )
    cache_mib: int = Field(
        10_240, ge=1, description="With a home in an object store: the most that the copies of its files take, in MiB."
    )
    configs: Path = Field(Path("configs"), description="Folder of the models' YAML files.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of ledger and state; default: SQLite in the home.", repr=False
    )
    mlflow_uri: str | None = Field(None, description="MLflow's tracking URI; default: SQLite in the home.", repr=False)
    mlflow_artifacts: str | None = Field(
        None, description="Where MLflow keeps artifacts; default: a folder in the home."
    )
    ledger_key: str | None = Field(
        None,
        description="Private key that signs the ledger: 32 bytes in hex or base64; default: the file `ledger.key` in the home, created at the first start.",
        repr=False,
    )
    ledger_key_file: Path | None = Field(
        None,
        description="File with the private key, as a secret store mounts it, instead of `TRUEUP_LEDGER_KEY`. Every machine of a home on PostgreSQL needs the same key.",
    )
    ledger_public_keys: str | None = Field(
        None,
        description="Public keys in hex, the present one first, separated by commas, for a process that only verifies: it needs no private key, and reads and makes none.",
    )
    ledger_earlier_keys: str | None = Field(
        None, description="Further trusted public keys, in hex, separated by commas."
    )
    senders: str | None = Field(
        None,
        description="Public keys in hex, separated by commas, of the homes whose models `trueup receive` accepts; see docs/how-to/environments.md.",
    )
    receivers: str | None = Field(
        None,
        description="Public keys in hex, separated by commas, of the homes whose receipts `trueup ledger receipt` accepts.",
    )
    ledger_anchor: Path | None = Field(None, description="A further file for the ledger's head, best on another disk.")
    longest_run: Duration = Field(
        timedelta(days=1),
        ge=timedelta(0),
        description="Longest time that a run takes. In a home on PostgreSQL, which several machines may share, `trueup gc` marks unneeded files and removes them so much later, if they are still unneeded.",
    )
    reports: bool = Field(
        True,
        description="Whether Data Docs, drift reports and reports of retrains are made. Results and artifacts are always recorded.",
    )
    dask: str | None = Field(
        None,
        description="Address of a Dask scheduler, such as `tcp://127.0.0.1:8786`, with workers for trials of the search, batches to score and policies of a replay; beyond this machine only `tls://`. See docs/how-to/dask.md.",
    )
    dask_plain_fits: bool = Field(
        False,
        description="Set to 1 to let the workers of `train.dask_workers` exchange sums over the training rows and limits of the features without TLS. Only trusted machines may reach theirs; see docs/how-to/dask.md.",
    )
    debug: bool = Field(False, description="Set to 1 to print the traceback of an error.")
    notify: str | None = Field(
        None,
        description="Who is notified when a person is needed: Apprise URLs, separated by commas.",
        repr=False,
    )
    without: str | None = Field(
        None,
        description="Servers that `trueup up` does not start, to save memory: `mlflow`, `evidently`, `reports`, `serve`, `ui`, separated by commas.",
    )
    mlflow_backend: str | None = Field(
        None,
        description="Database of the stack's MLflow server; default: `TRUEUP_MLFLOW_URI` if that is a database, else SQLite in the home.",
        repr=False,
    )
    prefect_database_url: str | None = Field(
        None, description="Database of the stack's Prefect server; default: SQLite in the home.", repr=False
    )
    host: str = Field(
        "127.0.0.1",
        description="IPv4 address of the stack's servers. An address that other machines can reach is refused unless each server requires a password; see docs/operations.md.",
    )
    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of the stack's Prefect server.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the stack's MLflow server.")
    evidently_port: int = Field(8000, ge=1, le=65535, description="Port of the stack's Evidently UI.")
    reports_port: int = Field(8100, ge=1, le=65535, description="Port of the stack's reports.")
    serve_port: int = Field(
        8200, ge=1, le=65535, description="Port of `trueup serve`, if a config of the stack has the section `serve`."
    )
    ui_port: int = Field(8300, ge=1, le=65535, description="Port of `trueup ui`, the live page.")
    tokens_file: Path | None = Field(
        None,
        description="File with the tokens of `trueup serve`, as a secret store mounts it. Default: `serving/tokens.json` in the home.",
    )
    reports_token: str | None = Field(
        None,
        min_length=16,
        pattern=r"^[!-~]+$",
        description="Password of the reports and of the live page over HTTP, for any user name: at least 16 characters, without spaces. Default: no password, on 127.0.0.1 only.",
        repr=False,
    )
    reports_pages: str | None = Field(
        None, description="Address of the home's reports for a browser; set by `trueup up`."
    )
    lineage_url: str | None = Field(
        None,
        description="Server that gets OpenLineage events of every stage, or `file:///path/events.jsonl`; needs `trueup[lineage]`. Default: OPENLINEAGE_URL; empty: none.",
        repr=False,
    )
    traces: bool = Field(
        True,
        description="Whether each turn is a trace for OpenTelemetry if OTEL_EXPORTER_OTLP_ENDPOINT is set; needs `trueup[traces]`. See docs/how-to/metrics.md.",
    )
    webhook_url: str | None = Field(
        None,
        description="Address at which MLflow's server reaches the reports' server of the stack, for webhooks about changed aliases. Default: that server itself, if the stack runs MLflow for this machine only.",
    )
    webhook_secret: str | None = Field(
        None,
        min_length=16,
        description="Secret with which MLflow signs its webhooks; default: one in the home, created by the first `trueup up`.",
        repr=False,
    )
    mlflow_pages: str | None = Field(None, description="Address of MLflow's pages for a browser; set by `trueup up`.")

    def __init__(self, **values: Any) -> None:
        """Raise ConfigError with all mistakes of the environment."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = [f"TRUEUP_{_name(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
            raise ConfigError("the environment", problems) from None
        if self.address is not None:
            _ = self.database, self.tracking_uri, self.mlflow_store  # refused here rather than in the middle of a run

    @field_validator("without")
    @classmethod
    def _optional_servers(cls, value: str | None) -> str | None:
        if unknown := _words(value) - OPTIONAL_SERVERS:
            raise ValueError(
                f"{', '.join(sorted(unknown))} cannot be left out; {', '.join(sorted(OPTIONAL_SERVERS))} can"
            )
        return value

    @field_validator("home")
    @classmethod
    def _in_addresses(cls, value: str) -> str:
        """Refuse characters with a meaning in database URLs: MLflow and Prefect read the home's path as part of one."""
        place = value if is_address(value) else str(Path(value).expanduser().resolve())
        if strange := sorted(set("%?#") & set(place)):
            raise ValueError(
                f"{place} contains a {' and a '.join(strange)}, which has a special meaning in the "
                "URLs of databases; use a folder without it"
            )
        if is_address(value) and not _STORE.fullmatch(value):
            raise ValueError(
                f"{masked(value)} is no address of an object store; write a folder, or an address such as s3://bucket/prefix, "
                "gs://bucket/prefix or abfs://container@account.dfs.core.windows.net/prefix"
            )
        return value.rstrip("/") or value

    @field_validator("dask")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        return value if value is None else require_encrypted(value)

    @field_validator("lineage_url")
    @classmethod
    def _for_lineage(cls, value: str | None) -> str | None:
        if value and not re.match(r"https?://[^/]|file:///[^/]", value):
            raise ValueError(
                f"{masked(value)} is no address for lineage; write http://host:port or file:///path/events.jsonl"
            )
        return value

    @field_validator("host")
    @classmethod
    def _one_address(cls, value: str) -> str:
        try:
            address = IPv4Address(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IPv4 address; use one of this machine, such as 127.0.0.1") from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f"{value} is not a single address; use the one at which others reach this machine")
        return value

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the stack's servers."""
        return IPv4Address(self.host).is_loopback

    @property
    def left_out(self) -> frozenset[str]:
        """The servers of the stack that are not started."""
        return _words(self.without)

    def apart(self, home: Path, **changes: Any) -> Settings:
        """Return settings for a separate home, with local databases only and without reports."""
        elsewhere = ("database_url", "mlflow_uri", "mlflow_backend", "mlflow_artifacts", "ledger_anchor")
        none = {**dict.fromkeys(elsewhere), "lineage_url": ""}
        return self.model_copy(update={**none, "home": str(home), "reports": False, "traces": False, **changes})

    @property
    def lineage(self) -> str | None:
        """Where lineage is sent: `lineage_url`, else OPENLINEAGE_URL, which other programs read, too."""
        return (os.environ.get("OPENLINEAGE_URL") if self.lineage_url is None else self.lineage_url) or None

    @property
    def root(self) -> Path:
        """The home as an absolute path. For a home in an object store: its part on this machine."""
        return folder_of_home(self.home, self.cache, self.database_url)

    @property
    def address(self) -> str | None:
        """The address of a home in an object store, None for a folder."""
        return self.home if is_address(self.home) else None

    @property
    def database(self) -> str:
        return self._shared(self.database_url or f"sqlite:///{self.root / 'trueup.db'}", "TRUEUP_DATABASE_URL")

    @property
    def tracking_uri(self) -> str:
        uri = self.mlflow_uri or self.mlflow_backend or f"sqlite:///{self.root / 'mlflow.db'}"
        return _with_psycopg(self._shared(uri, "TRUEUP_MLFLOW_URI"))

    @property
    def mlflow_store(self) -> str:
        if self.mlflow_backend is not None:
            return _with_psycopg(self._shared(self.mlflow_backend, "TRUEUP_MLFLOW_BACKEND"))
        if self.mlflow_uri is not None and not self.mlflow_uri.startswith(("http://", "https://")):
            return self.tracking_uri
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        return self.mlflow_artifacts or (
            f"{self.address}/mlartifacts" if self.address else str(self.root / "mlartifacts")
        )

    def _shared(self, database: str, variable: str) -> str:
        return require_shared(self.home, database, variable)


def _name(place: tuple[int | str, ...]) -> str:
    return "_".join(map(str, place)).removeprefix("TRUEUP_").upper()


def _words(value: str | None) -> frozenset[str]:
    return frozenset(word for part in (value or "").split(",") if (word := part.strip()))


def _with_psycopg(url: str) -> str:
    """Add the driver to a PostgreSQL URL without one, because MLflow would use psycopg2."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
