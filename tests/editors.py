"""What an editor says about a config: the validation of its text by the schema."""

from functools import cache

from jsonschema import Draft202012Validator

from trueup.config import json_schema, yaml_text


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema.config_schema())


def marked(text: str) -> list[str]:
    """The mistakes that an editor marks in a config; one is that its first line names no schema."""
    wrong = [] if text.splitlines()[0] == json_schema.CONFIG_LINE else ["the first line names no schema"]
    return wrong + [f"{e.json_path}: {e.message}" for e in _validator().iter_errors(yaml_text.read(text))]
