"""The keys that the collector reads, and those of the tracker protocol."""

from __future__ import annotations

from snowplow_aio.micro.fields import FIELDS
from snowplow_aio.model.payload import PROTOCOL_KEYS

ENVELOPES = {"co", "cx", "ue_pr", "ue_px"}
# Keys that payload_data has, and no stage of the pipeline reads.
UNREAD = {"ad_ad", "ad_ba", "ad_ca", "ad_uid", "ctype", "mac", "sa", "sn", "sp", "st", "ue_na"}
# Keys that the pipeline reads in a query string alone.
ONLY_IN_QUERIES = {"cv", "ev_ac", "ev_ca", "ev_la", "ev_pr", "ev_va"}


def test_every_protocol_key_is_converted_or_known_to_be_unread() -> None:
    assert PROTOCOL_KEYS - FIELDS.keys() == ENVELOPES | UNREAD


def test_every_conversion_is_for_a_protocol_key_or_a_query_string() -> None:
    assert FIELDS.keys() - PROTOCOL_KEYS == ONLY_IN_QUERIES
