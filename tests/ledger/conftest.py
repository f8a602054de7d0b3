"""The ledger lies in a database of either kind, as the store does."""

from tests.adapters.conftest import database_url, engine, home, store  # noqa: F401  (fixtures)
