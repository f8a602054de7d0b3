"""The self-test and its command."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.edge import bundles
from trueup_edge.bundle import open_bundle
from trueup_edge.command_line import main
from trueup_edge.errors import SelfTestFailed
from trueup_edge.self_test import self_test
from trueup_edge.trust import read_anchor


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_parity_rows_agree(tmp_path, anchor, task):
    agreement = self_test(open_bundle(bundles.write(tmp_path / "bundle", task=task), read_anchor(anchor)))
    assert agreement.rows == len(bundles.ROWS)
    assert agreement.difference < 1e-12


@pytest.mark.parametrize(
    ("parity", "reason"),
    [
        (b"", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"no json\n", "cannot be read"),
        (b'{"row": {"speed": 1}}\n', "cannot be read"),
        (b'{"row": {"speed": "text"}, "prediction": [0.5]}\n', "cannot be predicted: speed"),
        (b'{"row": {"other": 1}, "prediction": [0.5]}\n', "cannot be predicted: other"),
        (b'{"row": {"speed": 1}, "prediction": [0.5]}\n', "row 1 .* expected \\[0.5\\]"),
        (b'{"row": {"speed": 1}, "prediction": [0.5, 0.5]}\n', "row 1 "),
        (b'{"row": {"speed": 1}, "prediction": []}\n', "row 1 "),
        (b'{"row": {"speed": 1}, "prediction": [NaN]}\n', "row 1 "),
    ],
)
def test_what_cannot_be_compared_or_differs_does_not_pass(tmp_path, anchor, parity, reason):
    bundle = open_bundle(bundles.write(tmp_path / "bundle", files={"parity.jsonl": parity}), read_anchor(anchor))
    with pytest.raises(SelfTestFailed, match=reason):
        self_test(bundle)


def test_a_graph_that_fails_while_it_runs_does_not_pass(tmp_path, anchor):
    picks = {"place": np.array([99]), "axis": np.array(1)}
    nodes = [
        helper.make_node("Shape", ["features"], ["shape"]),
        helper.make_node("Gather", ["shape", "place"], ["beyond"]),  # onnxruntime notices when it runs
        helper.make_node("Cast", ["beyond"], ["number"], to=TensorProto.DOUBLE),
        helper.make_node("Unsqueeze", ["number", "axis"], ["prediction"]),
    ]
    graph = bundles.model_bytes(nodes, picks, len(bundles.INPUTS), 1)
    bundle = bundles.write(tmp_path / "bundle", files={"model.onnx": graph})
    with pytest.raises(SelfTestFailed, match="cannot be predicted") as refused:
        self_test(open_bundle(bundle, read_anchor(anchor)))
    assert str(refused.value).isprintable()


def test_a_device_without_onnxruntime_is_said_in_one_line(bundle, anchor, command, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    done = command(bundle, "--trust", anchor, "--selftest", PYTHONPATH=f"{tmp_path}{os.pathsep}{bundles.EDGE}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (7, "", 1)
    assert "libgomp" in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path, command):
    bundle = bundles.write(tmp_path / "bundle", model="späť")
    trust = bundles.trust(tmp_path / "trust.json", model="späť")
    done = command(bundle, "--trust", trust, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "sp\\xe4\\u0165 version 3, epoch 5: verified\n")


def test_a_refusal_is_one_line_of_signs_that_can_be_shown(tmp_path, command):
    bundle = bundles.write(tmp_path / "bundle")
    (bundle / "manifest.sig").write_text('{"key_id": "x"}')
    trust = bundles.trust(tmp_path / "trust\n\x1b[31m.json")
    done = command(bundle, "--trust", trust)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert done.stderr[:-1].isprintable()


def test_the_command_reports_and_exits_with_the_kind_of_refusal(bundle, anchor, command, tmp_path, capsys):
    done = command(bundle, "--trust", anchor, "--selftest")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("toy version 3, epoch 5: verified; 4 rows predicted as where it was made")
    assert main([str(bundle), "--trust", str(anchor)]) == 0
    assert capsys.readouterr().out == "toy version 3, epoch 5: verified\n"
    wrong = {
        2: ("no such trust anchor", bundle, tmp_path / "nowhere.json"),
        3: ("does not have", bundle, bundles.trust(tmp_path / "other_key.json", bundles.key(2))),
        5: ("trusts 'other'", bundle, bundles.trust(tmp_path / "other.json", model="other")),
        6: ("expired at", bundles.write(tmp_path / "late", expires="2024-03-02T00:00:00Z"), anchor),
        7: ("row 1", bundles.write(tmp_path / "off", files={"parity.jsonl": off_by(1e-8)}), anchor),
    }
    for code, (reason, folder, trust) in wrong.items():
        assert main([str(folder), "--trust", str(trust), "--selftest"]) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert reason in said.err
        assert said.err.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        main([str(bundle)])


def off_by(difference: float) -> bytes:
    lines = [json.loads(line) for line in bundles.parity().splitlines()]
    lines[0]["prediction"][0] += difference
    return b"\n".join(map(bundles.canonical, lines))
