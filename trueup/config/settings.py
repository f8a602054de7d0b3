"""Where things are, from the environment. Secrets live here too and never in a model's YAML."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Places and addresses; each can be set as `TRUEUP_<NAME>`. The defaults need no server."""

    model_config = SettingsConfigDict(env_prefix="TRUEUP_", frozen=True)

    home: Path = Field(Path(".trueup"), description="Folder of everything Trueup writes.")
    configs: Path = Field(Path("configs"), description="Folder of the models' YAML files.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of ledger and state; default: SQLite in the home."
    )
    mlflow_uri: str | None = Field(None, description="MLflow's tracking URI; default: SQLite in the home.")
    mlflow_artifacts: str | None = Field(
        None, description="Where MLflow keeps artifacts; default: a folder in the home."
    )
    notify: str | None = Field(
        None, description="Who is told when something needs a person: URLs of Apprise, with commas between them."
    )

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
        return self.mlflow_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        """The MLflow artifact location in force."""
        return self.mlflow_artifacts or str(self.root / "mlartifacts")
