"""Config text means the same to every reader of YAML, of version 1.1 or 1.2, whatever its names and values are."""

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from trueup.config import yaml_text

TEXT = st.text(st.sampled_from("aZ019:?,-_#&*!|>%@`'\"[]{}=<~.+eox \té\n"), min_size=1, max_size=6)


@given(TEXT)
@example("Late?")
@example("?x")
@example(":x")
@example("12:30")
@example("Off")
@example("0o17")
@example("1e3")
def test_text_comes_back_from_any_reader(text):
    for value in ({"key": text, "list": [text, 1]}, {text: 1, "other": 2}):
        for flow in (True, False):
            written = yaml_text.write(value, flow=flow, width=10**6)
            assert yaml_text.read(written) == yaml.safe_load(written) == value


def test_a_map_of_one_key_in_a_list_has_braces():
    assert yaml_text.write([{"kind": "paired"}], flow=True) == "[{kind: paired}]\n"
