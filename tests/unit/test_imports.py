"""The domain's tests need no vendor, so that they run in seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

VENDORS = {"prefect", "mlflow", "great_expectations", "evidently"}


@pytest.mark.slow
def test_the_units_and_their_tests_import_no_vendor():
    collect = (
        "import sys, pytest; pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', 'tests/unit']); "
        f"print('VENDORS', sorted({VENDORS!r} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", collect], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "VENDORS []", said.stdout[-2000:]


@pytest.mark.slow
def test_what_status_reads_a_champion_with_takes_no_time_to_import():
    modules = "trueup.governance.status, trueup.adapters.mlflow.models"
    code = f"import sys, {modules}; print(sorted({{'sklearn', 'scipy.stats', 'mlflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_help_of_the_command_line_loads_no_data_library():
    code = "import sys, trueup.cli.main; print(sorted({'pandas', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
