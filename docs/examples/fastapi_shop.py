"""The shop of the demo, for a server: its code is in `snowplow_aio.demo.shop`."""

import os

from snowplow_aio import HttpEmitter, Tracker
from snowplow_aio.demo.shop import create_app

COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")

app = create_app(Tracker(HttpEmitter(COLLECTOR), namespace="shop", app_id="shop", platform="web"))
