"""A rollout with a real server: traffic takes a challenger to the championship, and faults in its graph send it back."""

import http.client
import json
from datetime import datetime

import msgspec
import pytest

from tests import streams
from tests.online.rollouts import CHALLENGER, CHAMPION
from tests.serving import graphs
from tests.serving.test_process import serving, until
from trueup.governance.rollouts import under_way
from trueup.online.publish import publish
from trueup.online.rollout import check, status
from trueup.serving import published
from trueup.serving.state import BUNDLES


class Clients:
    """Requests of one row each, over one connection, with keys that were not sent before."""

    def __init__(self, story, port):
        rows = story.frame[story.frame["t"] >= streams.week(7)]
        self.rows = iter(rows.drop(columns="y").to_dict("records"))
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.story = story

    def ask(self, requests):
        """The answers, each with the version that made it."""
        answers = []
        for _ in range(requests):
            row = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in next(self.rows).items()}
            body = json.dumps({"row": row})
            self.connection.request("POST", "/v1/models/toy/predict", body, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            answers.append(json.loads(answer.read()))
            assert answer.status == 200, answers[-1]
        self.connection.close()  # the server closes one that is idle
        return answers

    def counted(self, requests):
        """Ask, and wait until the servers have written their counts."""
        before = self.requests()
        answers = self.ask(requests)
        until(lambda: self.requests() >= before + requests, 30)
        return answers

    def requests(self):
        """The requests that both versions were asked for, at the present step."""
        return status(self.story.model).traffic[-1].requests


def metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def phase(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v1/models/toy")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["version"], answer["phase"]


def test_traffic_takes_a_challenger_from_shadow_to_canary_to_champion(tried):
    publish(tried.model)
    with serving(tried, "toy") as (port, _):
        clients = Clients(tried, port)
        shadow = clients.counted(110)
        assert {a["version"] for a in shadow} == {CHAMPION}
        assert check(tried.model).decided == "rollout_advanced"
        until(lambda: phase(port) == (CHAMPION, "canary"))
        canary = clients.counted(200)
        roles = [a["predictions"][0].get("role") or a["role"] for a in canary]
        assert 60 < roles.count("canary") < 140
        assert check(tried.model).decided == "promoted"
        until(lambda: phase(port)[0] == CHALLENGER)
        assert {a["version"] for a in clients.ask(5)} == {CHALLENGER}


FAULTS = {
    "errors": lambda graph: graphs.raising(graph, 0.3),
    "non_finite": lambda graph: graphs.nan(graph, 0.3),
    "shift": lambda graph: graphs.shifted(graph, 0.3, 0.99, 0.0, 1.0),
    "latency": lambda graph: graphs.slow(graph, 0.002, 0.99),
}


@pytest.mark.parametrize("rule", [pytest.param(r, marks=[] if r == "errors" else pytest.mark.thorough) for r in FAULTS])
def test_a_fault_in_the_graph_of_the_challenger_rolls_it_back_and_every_request_is_answered(tried, rule):
    folder, state = published.folder_of(tried.home.root, "toy"), publish(tried.model)
    digest = graphs.plant(folder / BUNDLES / state.challenger.bundle, tried.home.signer, FAULTS[rule])
    challenger = msgspec.structs.replace(state.challenger, manifest_sha256=digest)
    published.write(folder, msgspec.structs.replace(state, challenger=challenger), tried.home.signer)
    with serving(tried, "toy") as (port, _):
        clients = Clients(tried, port)
        for _ in range(6):
            clients.counted(60)
            check(tried.model)
            if under_way(tried.model) is None:
                break
        event = tried.home.ledger.announced("toy", "trueup.rollout.ended")[-1].payload
        assert (event["outcome"], event["rule"]) == ("rolled_back", rule), event
        until(lambda: phase(port)[1] == "champion")
        assert f'trueup_rollouts_ended{{model="toy",reason="{rule}"}} 1.0' in metrics(port)
        assert {a["version"] for a in clients.ask(5)} == {CHAMPION}
