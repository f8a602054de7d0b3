"""The parts of the stack: its programs, their environment, their addresses, and their files."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from trueup.config.settings import Settings

POOL = "local"
PREFECT, WORKER, MLFLOW, EVIDENTLY, REPORTS = "prefect", "worker", "mlflow", "evidently", "reports"
SERVE, UI = "serve", "ui"
HOME_MARK, PROGRAM_MARK = "TRUEUP_STACK_HOME", "TRUEUP_STACK_PROGRAM"
_SOCKET_LETTERS = 80  # a Unix socket's path has 104 to 108 bytes, and supervisord appends its pid meanwhile

_UI = "from evidently.cli.__main__ import main; main()"
# Before the start, what other machines drew; later reports of theirs are shown after the next start.
_FETCH = "from trueup.home import Home; home = Home(); home.fetched(home.root / 'evidently'); home.close(); "


@dataclass(frozen=True)
class Layout:
    """The stack of one home. `project` is the folder with prefect.yaml, in which flows run."""

    settings: Settings
    project: Path

    @property
    def home(self) -> Path:
        return self.settings.root

    @property
    def folder(self) -> Path:
        return self.home / "stack"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def config(self) -> Path:
        return self.folder / "supervisord.conf"

    @property
    def record(self) -> Path:
        return self.folder / "stack.json"

    @property
    def socket(self) -> Path:
        """Supervisord's control socket: in the home, or for a home with a long path in a private temporary folder."""
        near = self.folder / "supervisor.sock"
        if len(str(near)) <= _SOCKET_LETTERS:
            return near
        name = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"trueup-{os.getuid()}" / f"{name}.sock"

    @property
    def ports(self) -> dict[str, int]:
        s = self.settings
        ports = {
            PREFECT: s.prefect_port,
            MLFLOW: s.mlflow_port,
            EVIDENTLY: s.evidently_port,
            REPORTS: s.reports_port,
            SERVE: s.serve_port,
            UI: s.ui_port,
        }
        return {program: port for program, port in ports.items() if program in self.programs}

    @property
    def has_mlflow(self) -> bool:
        """Whether the stack runs MLflow: not if TRUEUP_MLFLOW_URI names a server somewhere else."""
        uri = self.settings.mlflow_uri or ""
        ours = {f"http://{name}:{self.settings.mlflow_port}" for name in self.names}
        return not uri.startswith(("http://", "https://")) or uri.rstrip("/") in ours

    @property
    def names(self) -> list[str]:
        return [self.settings.host, "localhost"] if self.settings.loopback else [self.settings.host]

    @property
    def programs(self) -> list[str]:
        """All programs, in the order in which they start."""
        out = self.settings.left_out if self.has_mlflow else self.settings.left_out | {MLFLOW}
        out = out if self.serves else out | {SERVE}
        return [p for p in (PREFECT, MLFLOW, EVIDENTLY, REPORTS, SERVE, UI, WORKER) if p not in out]

    @property
    def serves(self) -> bool:
        """Whether a model of the configs has the section `serve`."""
        files = self.settings.configs.expanduser().glob("*.yaml")
        return any(
            re.search(r"^serve\s*:", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE) for file in files
        )

    def address(self, program: str) -> str:
        return f"http://{self.settings.host}:{self.ports[program]}"

    @property
    def api(self) -> str:
        return f"{self.address(PREFECT)}/api"

    @property
    def origins(self) -> str:
        """The origins of Prefect's pages in a browser."""
        return ",".join(f"http://{name}:{self.ports[PREFECT]}" for name in self.names)

    @property
    def addresses(self) -> dict[str, str]:
        """The environment of a flow run: where to report, and the URLs for links."""
        s, served = self.settings, {program: self.address(program) for program in self.ports}
        elsewhere = s.mlflow_uri if (s.mlflow_uri or "").startswith(("http://", "https://")) else None
        addresses = {
            "PREFECT_API_URL": self.api,
            "TRUEUP_REPORTS_PAGES": s.reports_pages or served.get(REPORTS),
            "TRUEUP_MLFLOW_PAGES": s.mlflow_pages or served.get(MLFLOW) or elsewhere,
        }
        return {name: address for name, address in addresses.items() if address}

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The environment of every program, and through the worker of every flow run."""
        home = str(self.home)
        # The password is set once, for the server and its clients on this machine.
        auth = (
            {"PREFECT_API_AUTH_STRING": inherited["PREFECT_SERVER_API_AUTH_STRING"]}
            if "PREFECT_SERVER_API_AUTH_STRING" in inherited
            else {}
        )
        return {
            **inherited,
            **auth,
            **self.addresses,
            HOME_MARK: home,
            "TRUEUP_HOME": self.settings.address or home,
            "TRUEUP_CONFIGS": str(self.settings.configs.expanduser().resolve()),
            "PWD": str(self.project),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(self.project), inherited.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "PREFECT_HOME": inherited.get("PREFECT_HOME", str(self.home / "prefect")),
            "PREFECT_LOGGING_LEVEL": "INFO",
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": inherited.get("OMP_NUM_THREADS", "1"),  # two fits at once on few cores
            # Its own pages only, under both of this machine's names; see `trueup.orchestration.stack.prefect_server`.
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": inherited.get("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", self.origins),
            # A run starts about 4 s after its request, instead of up to 14.
            "PREFECT_WORKER_QUERY_SECONDS": inherited.get("PREFECT_WORKER_QUERY_SECONDS", "1"),
            # A slot held by a dead process is freed within about a minute, also after a restart of the server:
            # by default Prefect keeps leases in memory, and a restart would lose them.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
            # A waiting run checks again after 5 s instead of 30.
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            # Heartbeats of flow runs; deploy.py creates the automation for them.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": inherited.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"),
        }

    def command(self, program: str) -> tuple[list[str], dict[str, str]]:
        """The command of a program, and additions to its environment.

        Addresses with passwords are in the environment, because every user of a machine can read a command line.
        """
        python, s = sys.executable, self.settings
        if program == PREFECT:
            url = prefect_database(s.prefect_database_url) if s.prefect_database_url else None
            more = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} if url else {}
            return [python, "-m", "trueup.orchestration.stack.prefect_server", *self._listen(PREFECT)], more
        if program == WORKER:
            # A fixed name, so that a restarted worker replaces the earlier one in the UI.
            return [python, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", POOL], {}
        if program == MLFLOW:
            # Files are read directly. If MLflow served them, anyone who reaches the port could overwrite a champion's.
            command = [python, "-m", "mlflow", "server", "--workers", "1", "--no-serve-artifacts"]
            more = {
                "MLFLOW_BACKEND_STORE_URI": s.mlflow_store,
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": s.artifact_root,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                **self._webhooks(),
            }
            return [*command, *self._listen(MLFLOW)], more
        if program == REPORTS:
            return [python, "-m", "trueup.orchestration.stack.reports", *self._listen(REPORTS)], {}
        if program == SERVE:
            return [python, "-m", "trueup", "serve", *self._listen(SERVE)], {}
        if program == UI:
            return [python, "-m", "trueup.ui.server", *self._listen(UI)], {}
        workspace = str(self.home / "evidently")
        run = [python, "-c", f"{_FETCH if s.address else ''}{_UI}", "ui", "--workspace", workspace]
        return [*run, *self._listen(EVIDENTLY)], {}

    def _webhooks(self) -> dict[str, str]:
        """Let MLflow send webhooks to the reports' server of this machine, if both are for this machine only."""
        from trueup.orchestration.stack.webhook import encryption_key

        key = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": encryption_key(self.settings)}
        if REPORTS not in self.programs or not self.settings.loopback:
            return key
        return {**key, "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}

    def _listen(self, program: str) -> list[str]:
        return ["--host", self.settings.host, "--port", str(self.ports[program])]


def prefect_database(url: str) -> str:
    """A database URL in Prefect's form: with an asynchronous driver and that driver's options.

    >>> prefect_database("postgresql://me:a%40b@db/prefect?sslmode=require")
    'postgresql+asyncpg://me:a%40b@db/prefect?ssl=require'
    """
    if url.startswith("sqlite:"):
        return re.sub(r"^sqlite:", "sqlite+aiosqlite:", url)
    parsed = sa.make_url(re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+asyncpg://", url))
    query = {("ssl" if k == "sslmode" else k): v for k, v in parsed.query.items()}
    return parsed.set(query=query).render_as_string(hide_password=False)
