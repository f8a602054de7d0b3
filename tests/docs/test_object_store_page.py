"""docs/how-to/object-store.md from top to bottom, in a shell, on an S3 server and PostgreSQL of the tests' own."""

import pytest

from tests import buckets
from tests.blocks import ROOT, commands
from tests.docs.test_serve_page import Shell

PAGE = ROOT / "docs" / "how-to" / "object-store.md"


@pytest.mark.thorough
def test_the_page_does_what_it_says(tmp_path, new_database):
    with buckets.running() as server:
        given = {
            "s3://BUCKET": server.bucket(),
            "postgresql://USER:PASSWORD@HOST/trueup": f"'{new_database()}'",
            "postgresql://USER:PASSWORD@HOST/mlflow": f"'{new_database()}'",
        }
        shell = Shell(tmp_path / "project")
        shell.environment |= {**server.environment, "TRUEUP_CACHE": str(tmp_path / "first")}
        start, elsewhere = commands(PAGE)
        for named, meant in given.items():
            assert named in start
            start = start.replace(named, meant)
        assert "ledger" in shell.run(start)
        shell.environment["TRUEUP_CACHE"] = str(tmp_path / "second")
        said = shell.run(elsewhere)
        assert "late_orders" in said
        assert not list(shell.folder.glob("s3:*"))
        assert not list(shell.folder.rglob("*.parquet"))
        assert {path.name for path in tmp_path.glob("*/*/copies")} == {"copies"}
