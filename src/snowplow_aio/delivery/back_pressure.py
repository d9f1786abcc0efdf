"""Waiting a little for a crowded store while the destination takes events out of it."""

from __future__ import annotations

from anyio import move_on_after

from snowplow_aio.abc import LocalStore

# Longest that one event waits.
_SECONDS = 1.0


class BackPressure:
    """
    Has whoever tracks wait for room, so that nothing is dropped merely because the caller never suspended.

    Args:
        store: What may be crowded.
    """

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._vain_at = -1

    async def wait(self, delivered: int) -> None:
        """
        Wait until the store is not crowded, a second at most.

        Args:
            delivered: Events that the destination has taken so far. Where a wait
                was in vain nobody waits again before there are more: a
                destination that hangs is not known to have failed yet.
        """
        if not self._store.is_above_high_water or delivered == self._vain_at:
            return
        with move_on_after(_SECONDS) as scope:
            await self._store.relief()
        self._vain_at = delivered if scope.cancelled_caught else -1
