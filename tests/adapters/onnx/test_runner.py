"""A second process of numpy and onnxruntime predicts and measures."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.adapters.onnx import pipelines
from trueup.adapters.onnx import ONNX_FILE
from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import encode
from trueup.adapters.onnx.runner import OnnxProcess, onnx_process
from trueup.config.tasks import Task
from trueup.domain.learning import learning
from trueup.errors import OnnxFailed


@pytest.fixture(scope="module", params=list(Task))
def exported(request, tmp_path_factory):
    training = pipelines.table(300)
    fitted = pipelines.fit("gradient_boosting", request.param, training, pipelines.labels(training, request.param))
    form = to_onnx(fitted, pipelines.dtypes(training), request.param)
    path = tmp_path_factory.mktemp("form") / ONNX_FILE
    path.write_bytes(form.graph)
    return fitted, form, path, request.param


def test_it_predicts_like_the_pipeline(exported):
    fitted, form, path, task = exported
    X = pipelines.messy(200)
    there = onnx_process().predict(path, encode(form.inputs, X))
    assert pipelines.apart(there, learning.predict(fitted, X, task)) <= form.tolerance


def test_it_measures_one_row_of_the_model_and_of_the_reference(exported):
    _, form, path, _ = exported
    model, reference = onnx_process().time(path, encode(form.inputs, pipelines.messy(5)), repeats=20)
    assert 0 < reference < 1
    assert 0 < model < 1


def test_it_is_shared_and_starts_again_when_it_has_ended():
    first = onnx_process()
    assert onnx_process() is first
    first.close()
    assert onnx_process() is not first
    assert onnx_process().alive


def test_a_file_of_the_present_folder_does_not_take_the_place_of_a_package(exported, tmp_path, monkeypatch):
    _, form, path, _ = exported
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('not the package')")
    monkeypatch.chdir(tmp_path)
    with OnnxProcess() as process:
        assert np.isfinite(process.predict(path, encode(form.inputs, pipelines.messy(3)))).all()


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a process that a script started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_an_interruption_no_question_gets_the_answer_to_another(exported, interruptible):  # noqa: ARG001
    _, form, path, _ = exported
    rows = encode(form.inputs, pipelines.messy(3))
    onnx_process().time(path, rows, repeats=5)
    interrupt = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        onnx_process().time(path, rows, repeats=200_000)
    assert np.isfinite(onnx_process().predict(path, rows)).all()


def test_it_loads_nothing_that_a_device_lacks():
    lines = "import sys, trueup.adapters.onnx.runner as r; r._import(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split()
    assert "onnxruntime" in loaded
    assert not {"sklearn", "pandas", "scipy", "skops", "mlflow", "onnx"} & set(loaded)


def test_onnxruntime_keeps_no_identifier_and_reports_nothing(exported, tmp_path, monkeypatch):
    _, form, path, _ = exported
    for name in ("CI", "ORT_DISABLE_TELEMETRY"):  # with which it would be off anyway
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with OnnxProcess() as process:
        process.predict(path, encode(form.inputs, pipelines.messy(3)))
    assert not list(tmp_path.iterdir())


def test_what_cannot_run_is_said_and_it_goes_on(exported, tmp_path):
    _, form, path, _ = exported
    rows = encode(form.inputs, pipelines.messy(3))
    torn = tmp_path / ONNX_FILE
    torn.write_bytes(form.graph[:-200])
    with OnnxProcess() as process:
        with pytest.raises(OnnxFailed, match=r"could not run the ONNX form: .*PROTOBUF"):
            process.predict(torn, rows)
        with pytest.raises(OnnxFailed, match=r"gone\.onnx"):
            process.predict(tmp_path / "gone.onnx", rows)
        with pytest.raises(OnnxFailed, match="Expected: 8 Please"):
            process.predict(path, rows[:, 1:])
        assert np.isfinite(process.predict(path, rows)).all()
        with pytest.raises(OnnxFailed, match=r"no answer within 0\.1 s"):
            process.time(path, rows, repeats=10**7, timeout=0.1)
        with pytest.raises(OnnxFailed, match="it ended with code -9"):
            process.predict(path, rows)
