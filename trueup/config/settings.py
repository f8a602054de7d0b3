"""Where things are, from the environment. Secrets live here too and never in a model's YAML."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from trueup.errors import ConfigError

OPTIONAL_SERVERS = frozenset({"mlflow", "evidently", "reports"})  # what flows do without: they read the home's files


class Settings(BaseSettings):
    """Places and addresses; each can be set as `TRUEUP_<NAME>`. The defaults need no server."""

    model_config = SettingsConfigDict(
        env_prefix="TRUEUP_", frozen=True, validate_default=True, hide_input_in_errors=True
    )

    home: Path = Field(Path(".trueup"), description="Folder of everything Trueup writes.")
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
        description="Private key that signs the ledger: 32 bytes in hex or base64; default: the file `ledger.key` in the "
        "home, made at the first start.",
        repr=False,
    )
    ledger_earlier_keys: str | None = Field(
        None, description="Public keys, in hex, with commas between them, whose signatures are believed too."
    )
    ledger_anchor: Path | None = Field(
        None, description="A further file, best on another disk, to which the ledger's head is written."
    )
    reports: bool = Field(
        True,
        description="Whether Data Docs, drift reports and dossiers are made; results and artifacts are "
        "recorded all the same.",
    )
    dask: str | None = Field(
        None,
        description="Address of a Dask scheduler, such as `tcp://127.0.0.1:8786`, whose workers play the policies of a "
        "replay; they must see the home under the same path, and have what `trueup[dask]` installs. Default: processes here.",
    )
    debug: bool = Field(False, description="Whether the trace of an error is shown, too: set it to 1.")
    notify: str | None = Field(
        None,
        description="Who is told when something needs a person: URLs of Apprise, with commas between them.",
        repr=False,
    )
    without: str | None = Field(
        None,
        description="Servers that `trueup up` leaves out, to save memory: `mlflow`, `evidently`, `reports`, with commas "
        "between them.",
    )
    mlflow_backend: str | None = Field(
        None,
        description="Database that the stack's MLflow server serves; default: `TRUEUP_MLFLOW_URI` if it is one, "
        "else SQLite in the home.",
        repr=False,
    )
    prefect_database_url: str | None = Field(
        None, description="Database of the stack's Prefect server; default: SQLite in the home.", repr=False
    )
    host: str = Field(
        "127.0.0.1",
        description="IPv4 address at which the stack's servers listen. One that other machines reach is refused unless "
        "each server asks who is there; see docs/operations.md.",
    )
    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of the stack's Prefect server.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the stack's MLflow server.")
    evidently_port: int = Field(8000, ge=1, le=65535, description="Port of the stack's Evidently UI.")
    reports_port: int = Field(8100, ge=1, le=65535, description="Port of the stack's reports.")
    reports_token: str | None = Field(
        None,
        min_length=16,
        pattern=r"^[!-~]+$",
        description="What one has to bring to read the reports over HTTP, as the password of any user: 16 letters or "
        "more, without spaces; default: on 127.0.0.1 nobody is asked.",
        repr=False,
    )
    reports_pages: str | None = Field(
        None, description="Address under which a browser finds the home's reports; `trueup up` sets it."
    )
    mlflow_pages: str | None = Field(
        None, description="Address under which a browser finds MLflow's pages; `trueup up` sets it."
    )

    def __init__(self, **values: Any) -> None:
        """Raises ConfigError, with all mistakes of the environment at once."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            found = [f"TRUEUP_{_name(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
            raise ConfigError("the environment", found) from None

    @field_validator("without")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if unknown := _words(value) - OPTIONAL_SERVERS:
            raise ValueError(
                f"{', '.join(sorted(unknown))} cannot be left out; {', '.join(sorted(OPTIONAL_SERVERS))} can"
            )
        return value

    @field_validator("home")
    @classmethod
    def _in_addresses(cls, value: Path) -> Path:
        """Databases and artifacts are named by addresses with the home in them, which MLflow and Prefect read as such."""
        if strange := sorted(set("%?#") & set(str(value.expanduser().resolve()))):
            raise ValueError(
                f"{value.expanduser().resolve()} has a {' and a '.join(strange)}, which has a meaning of its own in the "
                "addresses of databases; use a folder without it"
            )
        return value

    @field_validator("host")
    @classmethod
    def _one_address(cls, value: str) -> str:
        try:
            address = IPv4Address(value)
        except ValueError:
            raise ValueError(f"{value!r} is no IPv4 address; write one of this machine's, such as 127.0.0.1") from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError(f"{value} names no single address; write the one at which others are to find this machine")
        return value

    @property
    def loopback(self) -> bool:
        """Whether the stack's servers are reached from this machine only."""
        return IPv4Address(self.host).is_loopback

    @property
    def left_out(self) -> frozenset[str]:
        """The servers of the stack that are not started."""
        return _words(self.without)

    def apart(self, home: Path, **changes: Any) -> Settings:
        """The settings of a home of its own, with nothing on the servers and disks of this one, and without reports."""
        elsewhere = ("database_url", "mlflow_uri", "mlflow_backend", "mlflow_artifacts", "ledger_anchor")
        return self.model_copy(update={**dict.fromkeys(elsewhere), "home": home, "reports": False, **changes})

    @property
    def root(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.root / 'trueup.db'}"

    @property
    def tracking_uri(self) -> str:
        """The MLflow tracking URI in force."""
        return _with_psycopg(self.mlflow_uri or self.mlflow_backend or f"sqlite:///{self.root / 'mlflow.db'}")

    @property
    def mlflow_store(self) -> str:
        """The database that the stack's MLflow server serves."""
        if self.mlflow_backend is not None:
            return _with_psycopg(self.mlflow_backend)
        if self.mlflow_uri is not None and not self.mlflow_uri.startswith(("http://", "https://")):
            return self.tracking_uri
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        """The MLflow artifact location in force."""
        return self.mlflow_artifacts or str(self.root / "mlartifacts")


def _name(place: tuple[int | str, ...]) -> str:
    return "_".join(map(str, place)).removeprefix("TRUEUP_").upper()


def _words(value: str | None) -> frozenset[str]:
    return frozenset(word for part in (value or "").split(",") if (word := part.strip()))


def _with_psycopg(url: str) -> str:
    """Name the driver of a PostgreSQL address that names none: MLflow would ask for psycopg2."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
