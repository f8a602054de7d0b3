"""The Prefect flows of this project, one a file.

A flow's module imports little, its body the rest: a worker gives each run a process of its own, which reports that it runs
before pandas, scikit-learn and the like are loaded.
"""

import sys
from pathlib import Path

# Prefect has the project's folder on the path only while it imports a flow, and the bodies import `tasks` after that.
_PROJECT = str(Path(__file__).parents[1])
if _PROJECT not in sys.path:
    sys.path.append(_PROJECT)
