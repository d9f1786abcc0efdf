"""Callers that wait for the end of single events, in loops of their own."""

from __future__ import annotations

import asyncio

from snowplow_aio.runtime.confirmations import Confirmations


def test_a_caller_whose_loop_was_closed_keeps_the_news_from_no_other() -> None:
    confirmations, payload = Confirmations(), object()
    gone, here = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def watch() -> asyncio.Future[str | None]:
        return confirmations.watch(payload)

    left = gone.run_until_complete(watch())
    gone.close()
    waiting = here.run_until_complete(watch())
    confirmations.tell(payload, "refused")
    assert not left.done()
    assert here.run_until_complete(asyncio.wait_for(waiting, 5)) == "refused"
    here.close()
