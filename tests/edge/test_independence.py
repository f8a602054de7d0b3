"""The runtime needs numpy and onnxruntime only, and nothing of Trueup."""

from __future__ import annotations

import ast
import subprocess
import sys

from tests.edge import bundles

PACKAGE = bundles.EDGE / "trueup_edge"


def test_it_imports_only_the_standard_library_numpy_and_onnxruntime():
    allowed = {*sys.stdlib_module_names, "numpy", "onnxruntime", "trueup_edge"}
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            others = {name.split(".")[0] for name in names} - allowed
            assert others <= ({"boto3", "botocore"} if file.name == "s3.py" else set()), f"{file.name} imports {others}"


def test_an_update_needs_no_onnxruntime_in_its_own_process():
    code = "import sys, trueup_edge.command_line; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(bundles.EDGE)}, check=True)


def test_what_needs_a_posix_system_says_so_elsewhere(tmp_path, bundle, anchor):
    code = "import sys; sys.modules['fcntl'] = None; from trueup_edge.command_line import main; sys.exit(main(sys.argv[1:]))"
    (tmp_path / "spool.jsonl").touch()
    for arguments in (
        ["pull", bundle, "--into", tmp_path / "device", "--trust", anchor],
        ["hand-back", tmp_path / "spool.jsonl", "--to", tmp_path / "back.jsonl"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={"PYTHONPATH": str(bundles.EDGE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "POSIX" in done.stderr


def test_modules_and_files_are_small():
    files = list(PACKAGE.glob("*.py"))
    assert len(files) <= 20
    assert max(len(file.read_text().splitlines()) for file in files) <= 400


def test_loading_a_model_keeps_no_identifier_of_the_device_and_reports_nothing(
    bundle, anchor, command, tmp_path, monkeypatch
):
    for name in ("CI", "ORT_DISABLE_TELEMETRY"):  # with which it would be off anyway
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    assert command(bundle, "--trust", anchor, "--selftest", HOME=str(home)).returncode == 0
    assert not list(home.iterdir())
