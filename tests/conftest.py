"""Settings that every test shares: reproducible property tests, no deadline on a busy machine, nothing left behind."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import settings

from convtool import process

# Workers share the cores: the threads of their BLAS would wait for each other, a hundred times as long as they work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell lets what it runs in the background ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The default draws the same examples each time, so that a red run is red again; `--hypothesis-profile=search` explores.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=2000)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _the_process_as_it_was() -> Iterator[None]:
    """Settings of the process as they were, whatever a test does to them, or a command run in it."""
    policy, showwarning = dict(vars(process.policy)), warnings.showwarning
    yield
    vars(process.policy).update(policy)
    warnings.showwarning = showwarning
