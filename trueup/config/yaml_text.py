"""YAML 1.2 as text, read and written by ruamel."""

from __future__ import annotations

import io
import re
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

# Text that YAML 1.1 reads as a boolean or as a number of base 60, or that not every reader takes without quotes
_QUOTED: Final = re.compile(
    r"(?i:[yn]|yes|no|on|off)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|:.*|.*\?.*", re.DOTALL
)


def read(text: str, version: tuple[int, int] | None = None) -> Any:
    """The plain values of a text; PyYAML, and so Prefect, reads version 1.1. Raises ruamel.yaml.error.YAMLError."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(text)


def write(value: Any, flow: bool | None = False, width: int = 100) -> str:
    """Plain values as text: in block style, with `flow` on one line, with None only what holds no other map or list."""
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.Representer = _Representer
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.default_flow_style, yaml.width = flow, width
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = "\\x85" not in repr(value)  # a line break for some readers of YAML: it has to be escaped
    yaml.dump(value, text)
    return text.getvalue()


class _Representer(SafeRepresenter):
    """Quotes text of YAML 1.2 that version 1.1, which many editors and programs still read, takes for another type."""

    def represent_text(self, text: str) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _QUOTED.fullmatch(text) else None)


_Representer.add_representer(str, _Representer.represent_text)
