"""
A shop that tracks with snowplow-tracker 1.x; `shop_ported.py` does the same with this library.

    COLLECTOR=http://127.0.0.1:9090 python docs/examples/shop_on_1x.py 12
"""

# mypy: disable-error-code="attr-defined"
# pyright: reportPrivateImportUsage=false
import logging
import os
import sys
from contextvars import ContextVar
from typing import Any

from snowplow_tracker import (
    Emitter,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    Snowplow,
    StructuredEvent,
    Subject,
    Tracker,
)

log = logging.getLogger("shop")
user: ContextVar[str | None] = ContextVar("user", default=None)

RELEASE = SelfDescribingJson("iglu:com.example.kiosk/release/jsonschema/1-0-0", {"version": "7.1"})


class StatusEmitter(Emitter):
    """Remembers the HTTP status, which the failure callback is not given."""

    status = 0

    def http_post(self, data: str) -> int:
        self.status = super().http_post(data)
        return self.status


class Analytics:
    def __init__(self, collector: str) -> None:
        self.emitter = StatusEmitter(
            collector,
            batch_size=5,
            request_timeout=(3.05, 10),
            custom_retry_codes={403: True},
            max_retry_delay_seconds=30,
            on_failure=self.failed,
        )
        self.tracker = Tracker("shop", self.emitter, app_id="shop", encode_base64=False)
        Snowplow.add_tracker(self.tracker)

    def failed(self, sent: int, unsent: list[Any]) -> None:
        log.warning("%d events were not sent: HTTP status %s", len(unsent), self.emitter.status)

    def subject(self) -> Subject:
        subject = Subject().set_platform("srv")
        user_id = user.get()
        if user_id is not None:
            subject.set_user_id(user_id)
        return subject

    def viewed(self, url: str, sku: str) -> None:
        product = SelfDescribingJson("iglu:com.example.kiosk/product/jsonschema/1-0-0", {"sku": sku})
        self.tracker.track(PageView(url, event_subject=self.subject(), context=[product, RELEASE]))

    def added(self, sku: str, price: float) -> None:
        self.tracker.track(
            StructuredEvent(
                "shop", "add", label=sku, value=price, event_subject=self.subject(), context=[RELEASE]
            )
        )

    def rated(self, sku: str, stars: int) -> None:
        data = {"sku": sku, "stars": stars}
        rating = SelfDescribingJson("iglu:com.example.kiosk/rating/jsonschema/1-0-0", data)
        self.tracker.track(SelfDescribing(rating, event_subject=self.subject(), context=[RELEASE]))


def main(visits: int) -> None:
    analytics = Analytics(os.environ["COLLECTOR"])
    for number in range(visits):
        user.set(f"user-{number}" if number % 3 else None)
        analytics.viewed(f"https://shop.example/{number}", f"sku-{number}")
        analytics.added(f"sku-{number}", 2.5)
        analytics.rated(f"sku-{number}", 5)
    analytics.tracker.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
