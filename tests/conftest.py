"""Settings that every test shares: reproducible property tests, without a deadline on a busy machine."""

from __future__ import annotations

from hypothesis import settings

# The default draws the same examples each time, so that a red run is red again; `--hypothesis-profile=search` explores.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=2000)
settings.load_profile("steady")
