"""The environment of a side: the interpreter for its lock file, and variables from a list of allowed ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trueup.errors import WorkError

LOCK = "requirements.lock"
_ALLOWED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "SYSTEMROOT")
# What pip needs to reach an index; an index's password may be in it. No code of the side runs then: only wheels are installed.
_OF_PIP = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_NO_INDEX", "PIP_CACHE_DIR", "PIP_CERT", "PIP_CONFIG_FILE",
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
)  # fmt: skip
_PIP_SECONDS = 1_800
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)\s*(;?)")
# All that pip gets of a lock. Anything else could make it build a package, whose code would see the variables above, or show them:
# options such as --no-binary, addresses, paths, other files, ${VARIABLES}.
_HASHES = r"(?:--hash=sha(?:256|384|512):[0-9a-f]+\s*)"
_LOCKED = re.compile(
    rf"[A-Za-z0-9][\w.-]*(?:\[[\w., -]*\])?\s*==\s*[\w.!+]+\s*(?:;(?:(?!\s-)[\w\s.'\"()<>=!~,-])+)?(?:\s{_HASHES})*\\?|{_HASHES}+\\?",
    re.ASCII,
)


def variables(outside: Mapping[str, str], home: Path, repository: Path) -> dict[str, str]:
    """The variables of a side's processes: allowed ones, and places of its own. Passwords and tokens are not among them.

    Folders of PYTHONPATH within the compared repository are left out, so that no side imports the other's modules.
    """
    kept = {name: outside[name] for name in _ALLOWED if name in outside}
    paths = [Path(p).absolute() for p in outside.get("PYTHONPATH", "").split(os.pathsep) if p]
    apart = [str(p) for p in paths if not p.is_relative_to(repository.resolve())]
    return {
        **kept,
        **({"PYTHONPATH": os.pathsep.join(apart)} if apart else {}),
        "HOME": str(home),
        "TMPDIR": str(home),
        "TRUEUP_HOME": str(home / "trueup"),
        "TRUEUP_REPORTS": "false",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def interpreter(project: Path, place: Path, outside: Mapping[str, str]) -> str:
    """The Python for a side's project: this one if it has all versions of the lock, else that of a new environment.

    Raises WorkError if the environment cannot be made.
    """
    lock = project / LOCK
    if not lock.is_file():
        return sys.executable
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise WorkError(f"{LOCK} cannot be read: {error}; write it anew with `make lock`") from error
    if satisfied(lines):
        return sys.executable
    checked = place.with_name(f"{place.name}-{LOCK}")
    checked.write_text("\n".join(_pins_only(lines)) + "\n", encoding="ascii")
    wheels = ["--find-links", "wheels"] if (project / "wheels").is_dir() else []
    python = place / "bin" / "python"
    # -I: no module in the project's folder is taken for venv or pip.
    pip = [
        str(python),
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ]
    pip += ["--only-binary", ":all:", "--require-hashes", *wheels, "-r", str(checked)]
    environment = {name: outside[name] for name in (*_ALLOWED, *_OF_PIP) if name in outside}
    for command in ([sys.executable, "-I", "-m", "venv", str(place)], pip):
        try:
            done = subprocess.run(
                command, cwd=project, env=environment, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WorkError(f"the environment of {LOCK} cannot be made: {error}") from error
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise WorkError(f"the environment of {LOCK} cannot be made: {'; '.join(last)}")
    return str(python)


def _pins_only(lines: Iterable[str]) -> list[str]:
    """The pins and hashes of a lock, without comments. Raises WorkError for anything else in it."""
    kept = list[str]()
    for number, line in enumerate((line.strip() for line in lines), 1):
        if _LOCKED.fullmatch(line):
            kept.append(line)
        elif line and not line.startswith("#"):
            raise WorkError(
                f"{LOCK}, line {number}: {line[:80]!a} is no version with hashes; write the lock anew with `make lock`"
            )
    return kept


def satisfied(lines: Iterable[str]) -> bool:
    r"""Whether this process has a pinned version of every package of a lock file.

    A package whose pins all have a marker, such as one for another platform, may be absent.

    >>> satisfied(["numpy==0.0.1 \\", "    --hash=sha256:00"])
    False
    >>> satisfied(["no-such-package==1 ; sys_platform == 'win32'"])
    True
    """
    pins = [pin.groups() for line in lines if (pin := _PIN.match(line))]
    versions, always = dict[str, set[str]](), set[str]()
    for name, pinned, marker in pins:
        versions.setdefault(name, set()).add(pinned)
        always |= set() if marker else {name}
    for name, pinned_versions in versions.items():
        try:
            if version(name) not in pinned_versions:
                return False
        except PackageNotFoundError:
            if name in always:
                return False
    return True
