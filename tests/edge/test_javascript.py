"""The JavaScript example: it passes the same parity rows, and refuses what the Python runtime refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.edge import bundles

JS = bundles.EDGE / "js"


@pytest.fixture(scope="module")
def program(pytestconfig, tmp_path_factory):
    """The example with onnxruntime-node beside it, which stays in pytest's cache."""
    version = json.loads((JS / "package.json").read_text())["dependencies"]["onnxruntime-node"]
    kept = pytestconfig.cache.mkdir(f"onnxruntime-node-{version}")
    if not (problem := missing()) and not (kept / "node_modules").is_dir():
        fresh = tmp_path_factory.mktemp("npm")
        shutil.copy(JS / "package.json", fresh)
        # Its install script would fetch libraries for graphics cards.
        install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(install, cwd=fresh, capture_output=True, text=True, timeout=300, check=False)
        problem = f"npm install failed: {done.stderr[-500:]}" if done.returncode else ""
        if not problem:
            shutil.move(fresh / "node_modules", kept / "node_modules")
    if problem:
        assert not os.environ.get("CI"), problem
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("js")
    for file in JS.iterdir():
        shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(kept / "node_modules")
    return folder / "selftest.mjs"


def missing() -> str:
    lacking = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"the JavaScript example is not tested: no {' and no '.join(lacking)}" if lacking else ""


def run(program, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(program), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_it_passes_the_parity_rows(program, tmp_path, anchor, task):
    done = run(program, bundles.write(tmp_path / "bundle", task=task), "--trust", anchor)
    assert done.returncode == 0, done.stderr
    assert "verified; 4 rows predicted" in done.stdout


def test_classes_may_look_like_numbers(program, tmp_path, anchor):
    output = {"name": "late", "unit": "", "classes": ["10", "9", "1"]}
    bundle = bundles.write(tmp_path / "bundle", task="multiclass", output=output)
    done = run(program, bundle, "--trust", anchor)
    assert done.returncode == 0, done.stderr


def test_a_missing_input_may_have_a_name_that_all_objects_have(program, tmp_path, anchor):
    first, *others = bundles.manifest({})["inputs"]
    lines = [json.loads(line) for line in bundles.parity().splitlines()]
    for line in lines:
        value = line["row"].pop("distance")
        if value is not None:
            line["row"]["constructor"] = value
    parity = b"\n".join(map(bundles.canonical, lines))
    inputs = [first | {"name": "constructor"}, *others]
    bundle = bundles.write(tmp_path / "bundle", files={"parity.jsonl": parity}, inputs=inputs)
    done = run(program, bundle, "--trust", anchor)
    assert done.returncode == 0, done.stderr


def test_a_bundle_does_not_vouch_for_itself(program, tmp_path):
    files = {"trust.json": bundles.trust(tmp_path / "trust.json").read_bytes()}
    bundle = bundles.write(tmp_path / "bundle", files=files)
    done = run(program, bundle, "--trust", bundle / "trust.json")
    assert done.returncode == 3
    assert "vouch for itself" in done.stderr


def test_it_runs_trees_in_double(program, tmp_path, anchor):
    graph = bundles.trees(len(bundles.INPUTS))
    rows = [{"row": row, "prediction": bundles.run(graph, codes)} for row, codes in bundles.ROWS]
    parity = b"".join(bundles.canonical(row) + b"\n" for row in rows)
    bundle = bundles.write(tmp_path / "bundle", files={"model.onnx": graph, "parity.jsonl": parity})
    done = run(program, bundle, "--trust", anchor)
    assert done.returncode == 0, done.stderr


def test_it_refuses_what_the_python_runtime_refuses(program, tmp_path, anchor):
    names = iter(range(100))

    def made(**changes: object):
        return bundles.write(tmp_path / f"bundle{next(names)}", **changes)

    flipped, torn, extra = made(), made(), made()
    data = bytearray((flipped / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (flipped / "model.onnx").write_bytes(data)
    (torn / "manifest.json").write_bytes((torn / "manifest.json").read_bytes()[:-9])
    (extra / "more").touch()
    empty = made()
    (empty / "manifest.sig").write_text("null")
    off = [json.loads(line) for line in bundles.parity().splitlines()]
    off[1]["prediction"][0] += 1e-8
    cases = [
        (3, made(signer=bundles.key(2))),
        (3, flipped),
        (3, torn),
        (3, extra),
        (3, empty),
        (5, made(model="other")),
        (6, made(expires="2024-03-02T00:00:00Z")),
        (7, made(files={"parity.jsonl": b""})),
        (7, made(files={"parity.jsonl": b"\n".join(map(bundles.canonical, off))})),
        (7, made(files={"model.onnx": b"no graph"})),
    ]
    for code, bundle in cases:
        done = run(program, bundle, "--trust", anchor)
        assert (done.returncode, done.stdout) == (code, ""), (bundle, done.stderr)
        assert done.stderr.count("\n") == 1
    assert run(program).returncode == 2
