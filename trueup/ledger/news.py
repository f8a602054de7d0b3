"""News between machines that share a ledger in PostgreSQL.

A transaction that decides something about a model, or a program that has published it, notifies the channel with the model's
name as payload. Servers listen, and look at the model then. Nothing depends on a notification: who misses one asks.
"""

from typing import Final

CHANNEL: Final = "trueup_news"
NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', %(model)s)"
