"""
The shop of `shop_on_1x.py`, ported to this library.

    COLLECTOR=http://127.0.0.1:9090 python docs/examples/shop_ported.py 12
"""

import logging
import os
import sys
from contextvars import ContextVar

from snowplow_aio import HttpEmitter, PageView, Retried, Retry, SelfDescribingJson, StructuredEvent, Subject
from snowplow_aio.outcomes import Outcome
from snowplow_aio.registry import add_tracker
from snowplow_aio.sync import Tracker

log = logging.getLogger("shop")
user: ContextVar[str | None] = ContextVar("user", default=None)

RELEASE = SelfDescribingJson("iglu:com.example.kiosk/release/jsonschema/1-0-0", {"version": "7.1"})


class Analytics:
    def __init__(self, collector: str) -> None:
        retry = Retry(retry_codes={403: True}, max_delay=30)
        emitter = HttpEmitter(collector, batch_size=5, retry=retry, hooks=[self.failed])
        self.tracker = add_tracker(Tracker(emitter, namespace="shop", app_id="shop", encode_base64=False))
        self.tracker.set_default_platform("srv").add_global_context(RELEASE)

    def failed(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retried):
            log.warning("%d events were not sent: HTTP status %s", len(outcome.payloads), outcome.status)

    def track(
        self, event: PageView | StructuredEvent | SelfDescribingJson, *context: SelfDescribingJson
    ) -> None:
        self.tracker.track(event, subject=Subject(user_id=user.get()), context=context)

    def viewed(self, url: str, sku: str) -> None:
        product = SelfDescribingJson("iglu:com.example.kiosk/product/jsonschema/1-0-0", {"sku": sku})
        self.track(PageView(page_url=url), product)

    def added(self, sku: str, price: float) -> None:
        self.track(StructuredEvent(category="shop", action="add", label=sku, value=price))

    def rated(self, sku: str, stars: int) -> None:
        data = {"sku": sku, "stars": stars}
        self.track(SelfDescribingJson("iglu:com.example.kiosk/rating/jsonschema/1-0-0", data))


def main(visits: int) -> None:
    analytics = Analytics(os.environ["COLLECTOR"])
    for number in range(visits):
        user.set(f"user-{number}" if number % 3 else None)
        analytics.viewed(f"https://shop.example/{number}", f"sku-{number}")
        analytics.added(f"sku-{number}", 2.5)
        analytics.rated(f"sku-{number}", 5)
    analytics.tracker.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
