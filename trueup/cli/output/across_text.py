"""Prints what moves between environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.cli.output import lines, out, say, word

if TYPE_CHECKING:
    from trueup.across.receipt import Recorded
    from trueup.across.receive import Received
    from trueup.across.send import Sent


def sent(done: Sent) -> None:
    """Print a bundle, and what the receiver needs."""
    out.print(f"[bold]{done.model}[/] version {done.version}: {done.bytes / 1024:,.0f} KiB", highlight=False)
    say(done.file)
    say(f"next, where it is received: TRUEUP_SENDERS={done.public} trueup receive {done.file}")


def received(done: Received) -> None:
    """Print the decision about a bundle."""
    again = " (decided before; not judged again)" if done.again else ""
    version = "" if done.version is None else f", version {done.version} here"
    out.print(
        f"[bold]{done.model}[/] version {done.sent_version} of {done.sender}: {word(done.outcome)}{version}, ledger entry "
        f"{done.sequence}{again}",
        highlight=False,
        soft_wrap=True,
    )
    lines(done.reasons)
    say(f"next, where it was sent: trueup ledger receipt {done.receipt}")


def acknowledged(done: Recorded) -> None:
    """Print a receipt that is in the ledger."""
    out.print(f"[bold]{done.model}[/]: {done.reason} (ledger entry {done.sequence})", highlight=False, soft_wrap=True)
