"""Which models the files of a pull request may change."""

import hashlib
import subprocess
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from trueup.ci.affected import affected
from trueup.ci.environment import _pins_only, interpreter, satisfied, variables
from trueup.errors import WorkError

CONFIGS = PurePosixPath("configs")


@pytest.fixture
def tree(tmp_path):
    configs = tmp_path / "configs"
    (configs / "samples").mkdir(parents=True)
    (configs / "orders.yaml").write_text(
        'features: {custom: "orders_features:made"}\nci: {sample: samples/orders.csv}\n'
        "ingest: {contract: orders.odcs.yaml}\n"
    )
    (configs / "parcels.yaml").write_text('ingest: {source: {function: "tables:parcels"}}\n')
    (configs / "parcels.usual.yaml").write_text("a: 1\n")
    (configs / "orders_features.py").write_text("from units import kg\n")
    (configs / "units.py").write_text("kg = 1\n")
    (configs / "tables.py").write_text("import os\n")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "models"),
    [
        ("configs/orders.yaml", {"orders"}),
        ("configs/gone.yaml", set()),
        ("configs/orders.odcs.yaml", {"orders"}),
        ("configs/parcels.usual.yaml", set()),
        ("configs/orders_features.py", {"orders"}),
        ("configs/units.py", {"orders"}),
        ("configs/tables.py", {"parcels"}),
        ("configs/samples/orders.csv", {"orders"}),
        ("configs/nobody.py", {"orders", "parcels"}),
        ("configs/rates.csv", {"orders", "parcels"}),
        ("configs/.schema/config.json", set()),
        ("configs/notes.md", set()),
        ("requirements.lock", {"orders", "parcels"}),
        ("environments/prod.yaml", {"orders", "parcels"}),
        ("flows/run.py", {"orders", "parcels"}),
        ("features/more.py", {"orders", "parcels"}),
        ("tests/test_orders.py", set()),
        ("docs/page.md", set()),
        ("README.md", set()),
        (".github/workflows/ci.yaml", set()),
    ],
)
def test_affected_models(tree, changed, models):
    assert affected([changed], PurePosixPath(), CONFIGS, [tree]) == models


def test_a_project_in_a_folder_of_the_repository(tree):
    inside = PurePosixPath("shop")
    (tree / "shop").mkdir()
    (tree / "configs").rename(tree / "shop" / "configs")
    found = affected(["configs/orders.yaml", "shop/configs/parcels.yaml"], inside, inside / "configs", [tree])
    assert found == {"parcels"}


def test_a_side_gets_no_secrets(tmp_path):
    outside = {
        "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "t", "TRUEUP_DATABASE_URL": "postgresql://a:b@c/d",
        "PYTHONPATH": f"{tmp_path / 'repo' / 'lib'}:/elsewhere", "TRUEUP_LEDGER_KEY": "k", "HOME": "/root",
    }  # fmt: skip
    made = variables(outside, tmp_path / "home", tmp_path / "repo")
    assert set(made) == {
        "PATH",
        "PYTHONPATH",
        "HOME",
        "TMPDIR",
        "TRUEUP_HOME",
        "TRUEUP_REPORTS",
        "PYTHONDONTWRITEBYTECODE",
    }
    assert made["PYTHONPATH"] == "/elsewhere"
    assert made["HOME"] == str(tmp_path / "home")


def test_another_lock_gets_another_environment(tmp_path):
    """Without an index no package can be installed, and the message says so."""
    lines = ["numpy==0.0.1 \\", "    --hash=sha256:" + "0" * 64]
    assert not satisfied(lines)
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.lock").write_text("\n".join(lines))
    for name in ("venv.py", "pip.py"):  # it must not be run with the variables of an index
        (project / name).write_text(f"raise SystemExit('{name} of the project was run')\n")
    with pytest.raises(WorkError, match=r"the environment of requirements.lock cannot be made: .*numpy==0.0.1"):
        interpreter(project, tmp_path / "environment", {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"})


HASH = "--hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    "line",
    [
        "--no-binary evil",
        "--only-binary :none:",
        "--index-url https://index.example.com",
        "-r other.txt",
        "-e .",
        f"./wheels/evil-1.0.tar.gz {HASH}",
        f"evil @ https://example.com/evil-1.0.tar.gz {HASH}",
        f"evil=={'${PIP_INDEX_URL}'} {HASH}",
        f"evil==1.0 ; python_version > '3' --config-settings=a=b {HASH}",
        f"evil==1.0 {HASH} --no-binary evil",
    ],
)
def test_a_lock_with_more_than_pins_is_refused_before_pip_reads_it(tmp_path, line):
    """pip would build a package with such a line, and its code would see the password of an index."""
    (tmp_path / "requirements.lock").write_text(f"# a comment \\\n{line}\nno-such==1 {HASH}\n")
    with pytest.raises(WorkError, match=r"requirements.lock, line 2: .* is no version with hashes; .*make lock"):
        interpreter(tmp_path, tmp_path / "environment", {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"})


def test_every_line_of_a_written_lock_is_taken():
    lines = (Path(__file__).parents[2] / "requirements.lock").read_text().splitlines()
    assert _pins_only([*lines, "    # via numpy", ""]) == [line.strip() for line in lines if line]


@pytest.mark.thorough
def test_an_environment_is_made_from_the_locked_wheels(tmp_path):
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / "tiny_part-1.0-py3-none-any.whl"
    about = "tiny_part-1.0.dist-info"
    with ZipFile(wheel, "w") as file:
        file.writestr("tiny_part.py", "answer = 42\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "requirements.lock").write_text(f"tiny-part==1.0 \\\n    --hash=sha256:{digest}\n")
    python = interpreter(tmp_path, tmp_path / "environment", {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"})
    assert python == str(tmp_path / "environment" / "bin" / "python")
    done = subprocess.run(
        [python, "-c", "import tiny_part; print(tiny_part.answer)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"
    (tmp_path / "requirements.lock").write_text(f"tiny-part==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(WorkError, match="cannot be made"):
        interpreter(tmp_path, tmp_path / "other", {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1"})
