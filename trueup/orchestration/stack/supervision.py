"""supervisord: its config, its start, and calls over its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping
from typing import Any

from trueup.errors import WorkError
from trueup.orchestration.stack.alarm import EVENTS
from trueup.orchestration.stack.services import WORKER, Layout

RETRIES = 1_000_000  # restarts without limit, each a second later than the one before
GAVE_UP = 4  # starts of one program within one `up` before an error
_HEAD = """\
; Written by `trueup up`; changes are lost.
[supervisord]
nodaemon = true
silent = true
directory = {project}
logfile = {logs}/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = {folder}/supervisord.pid
identifier = trueup

[unix_http_server]
file = {socket}
chmod = 0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{socket}
"""
_PROGRAM = """
[program:{name}]
command = {command}
autostart = {autostart}
autorestart = true
startsecs = 5
startretries = {retries}
stopwaitsecs = 10
stopasgroup = true
killasgroup = true
priority = {priority}
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
redirect_stderr = true
"""
_ALARM = """
[eventlistener:alarm]
command = {command}
events = {events}
autorestart = true
priority = 1
stderr_logfile = {logs}/alarm.log
stderr_logfile_maxbytes = 1MB
stderr_logfile_backups = 1
"""


class Supervisor:
    """The process manager of one home."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self) -> None:
        """Write the config, without secrets: they stay in the environment."""
        layout = self._layout
        places = {"project": layout.project, "logs": layout.logs, "folder": layout.folder, "socket": layout.socket}
        text = _HEAD.format(**{k: _escaped(v) for k, v in places.items()})
        for place, name in enumerate(layout.programs):
            text += _PROGRAM.format(
                name=name,
                command=_escaped(f'"{sys.executable}" -m trueup.orchestration.stack.launch {name}'),
                retries=RETRIES,
                autostart="false" if name == WORKER else "true",  # it waits for its pool
                priority=(place + 1) * 10,  # they stop in the reverse order, the worker first
                logs=_escaped(layout.logs),
            )
        command = _escaped(f'"{sys.executable}" -m trueup.orchestration.stack.alarm')
        text += _ALARM.format(command=command, events=",".join(EVENTS), logs=_escaped(layout.logs))
        layout.logs.mkdir(parents=True, exist_ok=True)
        layout.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        layout.config.write_text(text, encoding="utf-8")

    def start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start supervisord in a separate session, so that Ctrl-C does not reach its children."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._layout.config)]
        # Output before it has its own log.
        with (self._layout.logs / "start.log").open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self._layout.project,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def pid(self) -> int | None:
        """The running supervisord's pid, or None. A leftover socket or pid file proves nothing."""
        try:
            return int(str(self._call("getPID")))
        except WorkError:
            return None

    def programs(self) -> dict[str, tuple[str, int]]:
        """The state of each program (STARTING, RUNNING, BACKOFF, FATAL, STOPPED, ...) and its pid, or 0. Raises WorkError."""
        return {str(p["name"]): (str(p["statename"]), int(p["pid"])) for p in self._call("getAllProcessInfo")}

    def start_stopped(self) -> None:
        """Start the programs that do not run, including those that gave up."""
        self._call("startAllProcesses", False)

    def shutdown(self) -> None:
        with contextlib.suppress(WorkError):
            self._call("shutdown")

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._layout.socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise WorkError(f"the process manager of {self._layout.home} does not answer: {error}") from None
        finally:
            transport.close()


def _escaped(value: object) -> str:
    """Escape percent signs, which begin a variable in supervisord's config."""
    return str(value).replace("%", "%%")
