# ruff: noqa: E501 - lines are as long as in the manual
"""The examples in the manual of the synchronous tracker 0.8.0, as they stand there, section by section."""

from __future__ import annotations

# The collectors and the Redis of the manual, for which a test has its own.
COLLECTORS = ("d3rkrsqld9gmqf.cloudfront.net", "collector1.cloudfront.net", "collector2.cloudfront.net")

# Whatever an example goes on with.
GIVEN = """
from snowplow_tracker import Subject, Tracker, Emitter
e = Emitter("d3rkrsqld9gmqf.cloudfront.net")
my_emitter = e
t = Tracker(e)
tracker = t
s = t.subject
"""

SUBJECT: dict[str, str] = {
    "3": 't.subject.set_platform("mob").set_user_id("user-12345").set_lang("en")',
    "3.1": 's.set_platform("tv") # Running on a Connected TV',
    "3.2": 's.set_user_id("alexd")',
    "3.3": "s.set_screen_resolution(1366, 768)",
    "3.4": "s.set_viewport(300, 200)",
    "3.5": "s.set_color_depth(32)",
    "3.6": 's.timezone("Europe/London")',
    "3.7": "s.set_lang('en')",
    "3.8": "tracker.set_ip_address('34.633.11.139')",
    "3.9": "tracker.set_useragent('Mozilla/5.0 (Windows NT 5.1; rv:23.0) Gecko/20100101 Firefox/23.0')",
    "3.10": "tracker.set_domain_user_id('c7aadf5c60a5dff9')",
    "3.11": "tracker.set_network_user_id('ecdff4d0-9175-40ac-a8bb-325c49733607')",
}

COOKIES = """
import re

def snowplow_cookie(request):
    for name in request.COOKIES:
        if re.match(r"_sp_id", name) != None:
            return request.COOKIES[name]
    return None

def get_domain_user_id(request):
    cookie = snowplow_cookie(request)
    if cookie != None:
        return cookie.split(".")[0]
"""

SEVERAL_SUBJECTS = """
from snowplow_tracker import Subject, Emitter, Tracker
e = Emitter("d3rkrsqld9gmqf.cloudfront.net")
t = Tracker(emitters=e, namespace="cf", app_id="CF63A")
s1 = Subject()
s1.set_platform("pc")
s1.set_user_id("0a78f2867de")
t.set_subject(s1)
t.track_page_view("http://www.example.com")
s2 = Subject()
s2.set_platform("mob").set_user_id("0b08f8be3f1")
t.set_subject(s2)
t.track_page_view("http://www.example.com")
t.set_subject(s1).track_struct_event("Ecomm", "add-to-basket", "dog-skateboarding-video", "hd", 13.99)
"""

CONTEXTS = """
from snowplow_tracker import SelfDescribingJson
geo_context = SelfDescribingJson(
    "iglu:com.snowplowanalytics.snowplow/geolocation_context/jsonschema/1-0-0",
    {
        "latitude": -23.2,
        "longitude": 43.0
    }
)
poster_context = SelfDescribingJson(
    "iglu:com.acme_company/movie_poster/jsonschema/2-1-1",
    {
        "movie_name": "Solaris",
        "poster_country": "JP",
        "poster_year": "1978-01-01"
    }
)
t.track_page_view("http://www.films.com", "Homepage", context=[poster_context, geo_context])
"""

TRUE_TIMESTAMP = """
from snowplow_tracker.tracker import TrueTimestamp
t.track_struct_event("some cat", "save action", tstamp=TrueTimestamp(1368725287000))
"""

CHAIN = """
from snowplow_tracker import AsyncEmitter, Tracker
e = AsyncEmitter("d3rkrsqld9gmqf.cloudfront.net")
t = Tracker(e)
t.track_page_view("http://www.example.com").track_screen_view("title screen")
"""

SAVE_GAME = """
from snowplow_tracker import SelfDescribingJson
t.track_self_describing_event(SelfDescribingJson(
    "iglu:com.example_company/save-game/jsonschema/1-0-2",
    {
        "save_id": "4321",
        "level": 23,
        "difficultyLevel": "HARD",
        "dl_content": True
    }
))
"""

TRANSACTION = """
t.track_ecommerce_transaction("6a8078be", 35, city="London", currency="GBP", items=
    [{
        "sku": "pbz0026",
        "price": 20,
        "quantity": 1
    },
    {
        "sku": "pbz0038",
        "price": 15,
        "quantity": 1
    }])
"""

FORM_CHANGE = (
    't.track_form_change("signupForm", "ageInput", "age", "24", "number", ["signup__number", "form__red"])'
)
FORM_SUBMIT = (
    't.track_form_submit("signupForm", ["signup__warning"], '
    '{"name": "email", "value": "alexd@example.com", "nodeName": "INPUT", "type": "email"})'
)

METHODS: dict[str, tuple[str, list[str]]] = {
    "2 and 3.12": (SEVERAL_SUBJECTS, ["pv", "pv", "se"]),
    "4.1.1": (CONTEXTS, ["pv"]),
    "4.1.2, by position": (
        't.track_struct_event("some cat", "save action", None, None, None, 1368725287000)', ["se"]),
    "4.1.2, by name": ('t.track_struct_event("some cat", "save action", tstamp=1368725287000)', ["se"]),
    "4.1.2, true": (TRUE_TIMESTAMP, ["se"]),
    "4.1.3": (CHAIN, ["pv", "screen_view"]),
    "4.2": (SAVE_GAME, ["save-game"]),
    "4.3": ('t.track_page_view("www.example.com", "example", "www.referrer.com")', ["pv"]),
    "4.4": (
        't.track_page_ping("http://mytesturl/test2", "Page title 2", "http://myreferrer.com", 0, 100, 0, 500, None)',
        ["pp"]),
    "4.5": ('t.track_screen_view("HUD > Save Game", "screen23", null, 1368725287000)', ["screen_view"]),
    "4.6": (TRANSACTION, ["tr", "ti", "ti"]),
    "4.7": (
        't.track_ecommerce_transaction_item("order-789", "2001", 49.99, 1, "Green shoes", "clothing")', ["ti"]),
    "4.8": ('t.track_struct_event("shop", "add-to-basket", None, "pcs", 2)', ["se"]),
    "4.9, basic": ('t.track_link_click("http://my-target-url2/path")', ["link_click"]),
    "4.9": (
        't.track_link_click("http://my-target-url2/path", "element id 2", None, "element target", "element content")',
        ["link_click"]),
    "4.10": (
        't.track_add_to_cart("123", 2, "The Devil\'s Dance", "Books", 23.99, "USD", None )', ["add_to_cart"]),
    "4.11, basic": ('t.track_remove_from_cart("123", 1)', ["remove_from_cart"]),
    "4.11": (
        't.track_remove_from_cart("123", 2, "The Devil\'s Dance", "Books", 23.99, "USD")',
        ["remove_from_cart"]),
    "4.12, basic": ('t.track_form_change("signupForm", "ageInput", "age", "24")', ["change_form"]),
    "4.12": (FORM_CHANGE, ["change_form"]),
    "4.13, basic": ('t.track_form_submit("registrationForm")', ["submit_form"]),
    "4.13": (FORM_SUBMIT, ["submit_form"]),
    "4.14, basic": ('t.track_site_search(["analytics", "snowplow", "tracker"])', ["site_search"]),
    "4.14": ('t.track_site_search(["pulp fiction", "reviews"], {"nswf": true}, 215, 22)', ["site_search"]),
    "4.15": (
        SAVE_GAME.replace("track_self_describing_event", "track_unstruct_event"), ["save-game"]),
    "6": ('level_idx = 42\nt.track_screen_view("Game Level", str(level_idx))', ["screen_view"]),
}  # fmt: skip
"""The examples of what tracks, and the events that they make: the type, or the name in the schema."""

INITIALIZATION = """
from snowplow_tracker import Subject, Tracker, Emitter
tracker = Tracker( Emitter("d3rkrsqld9gmqf.cloudfront.net") , namespace="cf", app_id="cf29ea", encode_base64=False)
"""

CALLBACKS = """
from snowplow_tracker import Emitter, Tracker

def f(x):
    print(str(x) + " events sent successfully!")

unsent_events = []

def g(x, y):
    print(str(x) + " events sent successfully!")
    print("These events were not sent successfully and have been stored in unsent_events:")
    for event_dict in y:
        print(event_dict)
        unsent_events.append(event_dict)

e = Emitter("d3rkrsqld9gmqf.cloudfront.net", buffer_size=3, on_success=f, on_failure=g)
t = Tracker(e)
t.track_page_view("http://www.example.com")
t.track_page_view("http://www.example.com/page1")
t.track_page_view("http://www.example.com/page2")
"""

THREADS = """
from snowplow_tracker import AsyncEmitter, Emitter
e = Emitter("d3rkrsqld9gmqf.cloudfront.net", thread_count=10)
"""

WORKER_COMMAND = "celery -A snowplow_tracker.emitters worker --loglevel=debug"

REDIS = """
from snowplow_tracker import RedisEmitter, Tracker
import redis

rdb = redis.StrictRedis(db=2)
e = RedisEmitter(rdb, "my_snowplow_key")
t = Tracker(e)
t.track_page_view("http://www.example.com")

# Check that the event was stored in Redis:
print(rdb.lrange("my_snowplowkey", 0, -1))
"""

SEVERAL_EMITTERS = """
from snowplow_tracker import Subject, Tracker, AsyncEmitter, RedisEmitter
import redis

e1 = AsyncEmitter("collector1.cloudfront.net", method="get")
e1 = AsyncEmitter("collector2.cloudfront.net", method="post")
t = Tracker([e1, e2])

rdb = redis.StrictRedis(db=2)
e3 = RedisEmitter(rdb, "my_snowplow_key")
t.addEmitter(e3)
"""

RETRYING = """
def on_failure_retry(failed_event_count, failed_events):
    # possible backoff-and-retry timeout here
    for e in failed_events:
        my_emitter.input(e)
"""

TIMER = """
from snowplow_tracker import AsyncEmitter
e1 = AsyncEmitter("collector1.cloudfront.net", method="post")
e1.set_flush_timer(5) # flush each 5 seconds
e1.cancel_flush()
"""

WALRUS = """
s = Subject()
t.set_color_depth("walrus")
"""

NO_CONTRACTS = """
from snowplow_tracker import disable_contracts
disable_contracts()
"""

LOGGING = """
from snowplow_tracker import logger
# Log all messages, even DEBUG messages
logger.setLevel(10)
# Log only messages with priority WARN or higher
logger.setLevel(30)
# Turn off all logging
logger.setLevel(60)
"""

WORKER = """
from snowplow_tracker import AsyncEmitter, Emitter
from snowplow_tracker.redis_worker import RedisWorker
e = Emitter("d3rkrsqld9gmqf.cloudfront.net")
r = RedisWorker(e, key="snowplow_redis_key")
r.run()
"""
