"""The command line: `python -m trueup_edge`. What went wrong is one line on standard error, its kind the exit code."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trueup_edge.bundle import Bundle, open_bundle
from trueup_edge.device import installed_bundle, is_device, status, status_text
from trueup_edge.errors import EdgeError, Unavailable, UsageError
from trueup_edge.self_test import self_test
from trueup_edge.spool import Spool
from trueup_edge.trust import read_anchor
from trueup_edge.update import MAX_BYTES, SECONDS, pull, replace_anchor, unpack

_EXIT_CODES: Final = (
    "exit codes: 0 done or up to date, 2 wrong call, 3 not trusted, 4 older epoch, 5 another model, 6 expired, "
    "7 self-test failed, 8 could not fetch or write, 130 stopped from the keyboard"
)
_STOPPED: Final = 130  # as shells have it for this signal
_COMMANDS: Final = ("pull", "status", "trust", "hand-back")


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else ""
    options = _parser(command).parse_args(arguments[1:] if command else arguments)
    run = {"pull": _pull, "status": _status, "trust": _trust, "hand-back": _hand_back, "": _test}[command]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show
    try:
        print(run(options))
    except EdgeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a disk that is full or fails, wherever it happens
        print(f"Unavailable: {error}", file=sys.stderr)
        return Unavailable.exit_code
    except KeyboardInterrupt:
        print("stopped from the keyboard; what was installed before stays, run again", file=sys.stderr)
        return _STOPPED
    return 0


def _parser(command: str) -> argparse.ArgumentParser:
    name = f"python -m trueup_edge {command}".strip()
    parser = argparse.ArgumentParser(prog=name, description=_DESCRIPTIONS[command], epilog=_EXIT_CODES)
    if command == "pull":
        parser.add_argument("source", help="a folder, a .zip file, or an address https://… or s3://… of either")
        parser.add_argument("--into", type=Path, required=True, help="the device's folder")
        parser.add_argument("--trust", type=Path, required=True, help="the trust anchor's file")
        parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="largest bundle (default: %(default)s)")
        parser.add_argument("--timeout", type=float, default=SECONDS, help="seconds to fetch it (default: %(default)s)")
    elif command == "status":
        parser.add_argument("folder", type=Path, help="the device's folder")
        parser.add_argument("--trust", type=Path, help="the trust anchor's file, to verify the bundles")
        parser.add_argument("--json", action="store_true", help="print JSON")
    elif command == "trust":
        parser.add_argument("new", help="the new trust anchor: a file, or an address https://…")
        parser.add_argument("--anchor", type=Path, required=True, help="the trust anchor's file that it replaces")
    elif command == "hand-back":
        parser.add_argument("spool", type=Path, help="the spool's file")
        parser.add_argument("--to", type=Path, required=True, help="the file for `trueup ingest-predictions`")
    else:
        parser.add_argument(
            "bundle", type=Path, help=f"a bundle's folder or .zip file, or a device's folder; or: {_LIST}"
        )
        parser.add_argument("--trust", type=Path, required=True, help="the trust anchor's file")
        parser.add_argument("--selftest", action="store_true", help="also predict the bundle's parity rows and compare")
    return parser


_LIST: Final = ", ".join(_COMMANDS)
_DESCRIPTIONS: Final = {
    "": f"Verify a bundle. Other commands: {_LIST}.",
    "pull": "Install a bundle if it is newer than the one in use.",
    "status": "Show which bundle is in use.",
    "trust": "Replace the trust anchor by one that a key of it signed.",
    "hand-back": "Move the predictions of a spool that no process uses to a file.",
}


def _test(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        bundle = _opened(options.bundle, options.trust, Path(scratch))
    if not options.selftest:
        return f"{bundle.manifest}: verified"
    agreement = self_test(bundle)
    return (
        f"{bundle.manifest}: verified; {agreement.rows} rows predicted as where it was made (largest difference "
        f"{agreement.difference:.2g}, allowed {bundle.manifest.tolerance:g})"
    )


def _opened(path: Path, trust: Path, scratch: Path) -> Bundle:
    anchor = read_anchor(trust)
    if path.is_file():
        return open_bundle(unpack(path, scratch, anchor), anchor)
    return installed_bundle(path, anchor) if is_device(path) else open_bundle(path, anchor)


def _pull(options: argparse.Namespace) -> str:
    return pull(options.source, options.into, options.trust, options.max_bytes, options.timeout)


def _status(options: argparse.Namespace) -> str:
    described = status(options.folder, options.trust)
    return json.dumps(described) if options.json else status_text(described)


def _trust(options: argparse.Namespace) -> str:
    return replace_anchor(options.new, options.anchor)


def _hand_back(options: argparse.Namespace) -> str:
    if not Spool.exists(options.spool):
        raise UsageError(f"{options.spool}: no such spool")
    with Spool(options.spool) as spool:
        handed_back = spool.hand_back(options.to)
    return f"{handed_back.predictions} predictions handed back, {handed_back.lost} lost"
