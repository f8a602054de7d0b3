"""`python -m trueup.online MODEL` publishes what servers of a model load. Servers start it as a child process."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress

from trueup.config.load import load_model
from trueup.errors import TrueupError
from trueup.home import Home
from trueup.model import Model
from trueup.online.publish import announce_failure, publish


def main(words: list[str] | None = None) -> int:
    """Do what the words say. Returns the exit code; an error is one line on stderr."""
    asked = _parser().parse_args(words)
    home = Home()
    try:
        with suppress(OSError):
            os.nice(10)  # serving goes first
        model = Model(load_model(home.configs, asked.model), home)
        print(f"{asked.model}: {_do(model, asked)}")
        return 0
    except TrueupError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        home.close()


def _do(model: Model, asked: argparse.Namespace) -> str:
    """Do what was asked; returns what was done, in words."""
    if asked.failed is not None:
        return "the failure was announced" if announce_failure(model, asked.failed) else "the failure is known"
    if asked.drain:
        return _drained(model)
    if asked.check_rollout:
        return _checked(model)
    state = publish(model)
    return f"version {state.champion.version}, epoch {state.champion.epoch} is published"


def _drained(model: Model) -> str:
    from trueup.online.drain import drain  # imports scikit-learn, which publishing does without most of the time

    drained = drain(model)
    done = f"{drained.records:,} predictions in the log, {drained.new:,} new ones stored"
    return "\n".join([done, *(f"  {words}" for words in drained.words)])


def _checked(model: Model) -> str:
    from trueup.online.rollout import check  # imports scikit-learn, too

    checked = check(model)
    publish(model)
    if checked is None:
        return "no rollout is under way"
    return "\n".join([checked.decided or "the rollout waits", *(f"  {words}" for words in checked.reasons)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trueup.online", description=__doc__)
    parser.add_argument("model", help="the model's name")
    parser.add_argument("--failed", metavar="TEXT", help="announce that servers could not load what is published")
    parser.add_argument(
        "--check-rollout", action="store_true", help="advance the rollout, roll it back, or wait; then publish"
    )
    parser.add_argument("--drain", action="store_true", help="store the predictions in the log of its servers instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
