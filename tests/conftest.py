"""Settings that every test shares: reproducible property tests, without a deadline on a busy machine."""

from __future__ import annotations

import os

from hypothesis import settings

# Workers share the cores: the threads of their BLAS would wait for each other, a hundred times as long as they work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The default draws the same examples each time, so that a red run is red again; `--hypothesis-profile=search` explores.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=2000)
settings.load_profile("steady")
