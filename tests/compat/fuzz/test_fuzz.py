"""
Inputs by chance: what is accepted is good for the pipeline, what is refused says why.

`nox -s fuzz` tries a million; the usual run a few thousand of the same. A fault is
found again by the seed of its part.
"""

from __future__ import annotations

import os

import pytest

from tests.compat.fuzz.inputs import Fuzz
from tests.conformance.oracle import Oracle

pytestmark = pytest.mark.anyio

INPUTS = int(os.environ.get("SNOWPLOW_FUZZ_INPUTS", "4000"))
PARTS = 8


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(PARTS))
async def test_what_is_accepted_is_good_and_what_is_refused_says_why(seed: int, oracle: Oracle) -> None:
    tally = await Fuzz(oracle, seed).run(INPUTS // PARTS)

    assert tally.faults[:10] == []
    # Neither side is empty talk.
    assert tally.inputs * 0.2 < tally.accepted < tally.inputs * 0.8
    assert tally.events > tally.inputs * 0.2
