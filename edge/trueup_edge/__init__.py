"""Runs the bundles that Trueup exports, with numpy and onnxruntime only.

>>> from trueup_edge import load
>>> model = load("bundle", trust="trust.json")                                  # doctest: +SKIP
>>> model.predict({"distance": 1069, "carrier": "UA"})                          # doctest: +SKIP
0.2371
"""

from trueup_edge.errors import EdgeError
from trueup_edge.model import Model, load
from trueup_edge.spool import Spool

__all__ = ["EdgeError", "Model", "Spool", "load"]
