"""Units of work on a Dask cluster: what they return and raise, and what is wrong with a cluster."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from threading import Lock

import dask
import numpy as np
import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests import clusters
from tests.free import free_port
from trueup.adapters.dask import worker
from trueup.adapters.dask.cluster import Cluster
from trueup.adapters.dask.trials import trials_at
from trueup.adapters.fit_cache import Fits
from trueup.adapters.optuna import search
from trueup.config.sections.training import TrainConfig
from trueup.config.settings import Settings
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import build, defaults
from trueup.domain.learning.recipe import Recipe
from trueup.domain.learning.searched import Searched
from trueup.errors import ClusterFailed, ConfigError, NotEnoughData, UsageError, WorkError


@pytest.fixture(scope="module")
def here():
    with clusters.running(2, processes=False) as one:
        yield one


@pytest.fixture
def cluster(here):
    one = Cluster(here.scheduler_address)
    yield one
    one.close()


def add(a, b):
    return a + b


def fail(error):
    raise error


class Unsendable(Exception):
    def __init__(self, what):
        super().__init__(what)
        self.lock = Lock()


def test_results_and_errors_are_those_of_a_call_here(cluster):
    assert cluster.call(add, 1, 2) == 3
    with pytest.raises(NotEnoughData, match=r"^too few$"):
        cluster.call(fail, NotEnoughData("too few"))
    with pytest.raises(ConfigError) as info:
        cluster.call(fail, ConfigError("toy", ["one", "two"]))
    assert info.value.problems == ["one", "two"]


def unsendable():
    raise Unsendable("a at b")


def test_an_error_that_cannot_be_sent_keeps_its_words(cluster):
    with pytest.raises(WorkError, match=r"^Unsendable: a at b$"):
        cluster.call(unsendable)


def test_a_value_is_sent_once_and_again_when_it_is_lost(cluster):
    with cluster.sharing([1]) as shared:
        assert shared.call(add, [2]) == [1, 2]
        first = shared._sent
        assert shared.call(add, [3]) == [1, 3]
        assert shared._sent is first
        cluster.client.cancel([first], force=True)
        assert shared.call(add, [4]) == [1, 4]


def test_what_cannot_be_sent_is_the_clusters_failure_and_no_trials(cluster):
    with pytest.raises(ClusterFailed, match=r"did not take the work: TypeError"):
        cluster.call(add, Lock(), 1)


def test_other_packages_are_refused_by_name(cluster, monkeypatch):
    monkeypatch.setattr(worker, "versions", lambda: {"python": "3.11", "numpy": "2"})
    wanted = {"python": "3.11", "numpy": "1"}
    with pytest.raises(ClusterFailed, match=r"the Dask worker tcp://127.* has numpy 2 instead of 1; install the same"):
        cluster.client.submit(worker.run, wanted, add, 1, 2).result()


def test_trials_are_those_of_a_search_here(cluster):
    """With one that fails, and with one that is stopped after a fold."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
    times = pd.Series(pd.date_range("2024-01-01", periods=400, freq="h"))
    folds = tuple((np.arange(end), np.arange(end, end + 100)) for end in (200, 300))
    y, schema = (rows["a"] + rng.normal(size=400) > 0).astype(int), FeatureSchema(tuple("abc"), ())
    searched = Searched(rows, y, times, schema, folds, Task.BINARY, timedelta(days=4))
    fixed = {"gradient_boosting": {"max_bins": 1}}
    train = TrainConfig(families=["linear", "gradient_boosting"], parameters=fixed, trials=16, trials_at_once=4)
    fits, there = Fits(), Fits()
    here = search(lambda recipe: (searched.loss(fits.fit, recipe, fold) for fold in range(2)), train, Task.BINARY)
    with trials_at(cluster, searched, 4, there) as (score, together):
        assert search(score, train, Task.BINARY, together=together) == here
    assert {trial.state for trial in here.trials} == {"complete", "pruned", "failed"}
    assert there.spent > 0


def test_sockets_of_lightgbm_without_tls_must_be_allowed():
    fits, schema = Fits(Cluster(f"tcp://127.0.0.1:{free_port()}")), FeatureSchema(("a",), ())
    pipeline = build(Recipe("lightgbm", defaults("lightgbm", Task.BINARY)), schema, Task.BINARY)
    with pytest.raises(UsageError, match=r"without TLS.*set TRUEUP_DASK_PLAIN_FITS=1"):
        fits.fit(pipeline, pd.DataFrame({"a": [0.0, 1.0]}), [0, 1], workers=2)


@pytest.mark.thorough
def test_without_a_scheduler_or_a_worker_it_says_what_to_start():
    with pytest.raises(ClusterFailed, match=r"no Dask scheduler answers at tcp://127.*start it, or unset TRUEUP_DASK"):
        Cluster(f"tcp://127.0.0.1:{free_port()}").call(add, 1, 2)


def test_a_cluster_without_a_worker(monkeypatch):
    monkeypatch.setattr("trueup.adapters.dask.cluster._PATIENCE", 2)
    with clusters.running(1, processes=False) as empty:
        clusters.without_workers(empty)
        with pytest.raises(ClusterFailed, match=r"has no worker; start one with `dask worker tcp://127"):
            Cluster(empty.scheduler_address).call(add, 1, 2)


def test_workers_that_leave_are_waited_for_and_then_missed(monkeypatch):
    monkeypatch.setattr("trueup.adapters.dask.cluster._ALONE", 2.0)
    with clusters.running(1, processes=False) as small:
        one = Cluster(small.scheduler_address)
        assert one.call(add, 1, 2) == 3
        clusters.without_workers(small)
        with pytest.raises(ClusterFailed, match=r"has had no worker for 2 seconds"):
            one.call(add, 1, 2)
        one.close()


def test_tls_without_certificates_names_the_variables():
    with pytest.raises(
        UsageError, match=r"TRUEUP_DASK=tls://.* needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA"
    ):
        Cluster(f"tls://127.0.0.1:{free_port()}").call(add, 1, 2)


class TestAddress:
    @pytest.mark.parametrize("address", ["tcp://10.0.0.7:8786", "10.0.0.7:8786", "tcp://scheduler:8786"])
    def test_beyond_this_machine_only_with_tls(self, address):
        with pytest.raises(ConfigError, match=r"TRUEUP_DASK: .*without TLS; .*TLS__CA_FILE.*see docs/how-to/dask.md"):
            Settings(dask=address)

    @pytest.mark.parametrize("address", ["http://127.0.0.1:8786", "tcp://", "inproc://1"])
    def test_what_is_no_address(self, address):
        with pytest.raises(ConfigError, match="no address of a scheduler"):
            Settings(dask=address)

    @pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "localhost:1", "tcp://[::1]:1", "tls://10.0.0.7:8786"])
    def test_what_is_taken(self, address):
        assert Settings(dask=address).dask == address


def test_with_certificates_it_works_over_tls_and_without_them_nobody_gets_in(tmp_path):
    distributed = pytest.importorskip("distributed")
    cert, key = certificate(tmp_path)
    roles = {f"tls_{role}_{part}": str(p) for role in ("scheduler", "worker", "client") for part, p in (("cert", cert), ("key", key))}  # fmt: skip
    security = distributed.Security(tls_ca_file=str(cert), require_encryption=True, **roles)
    with clusters.running(1, processes=False, security=security, protocol="tls") as encrypted:
        address = encrypted.scheduler_address
        assert address.startswith("tls://")
        tls = {"ca-file": cert, "client.cert": cert, "client.key": key}
        with dask.config.set({f"distributed.comm.tls.{name}": str(file) for name, file in tls.items()}):
            one = Cluster(address)
            assert one.call(add, 1, 2) == 3
            one.close()
        with pytest.raises(UsageError, match="needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
            Cluster(address).call(add, 1, 2)


def certificate(folder):
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = made.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(signed.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files
