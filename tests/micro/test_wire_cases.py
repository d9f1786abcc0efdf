"""Every raw request of the conformance data gets the pipeline's verdict."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from snowplow_aio.micro import Micro
from tests.conformance.check_cases import expand, load
from tests.conformance.oracle import NO_PUBLIC_SCHEMAS, Oracle, public_schemas

from .wire import BAD_ROWS, Answer, send, stage

pytestmark = pytest.mark.anyio


async def send_raw(micro: Micro, request: dict[str, Any]) -> Answer:
    target = f"{request['path']}?{request['query']}" if request.get("query") else request["path"]
    body = base64.b64decode(request["body_b64"]) if "body_b64" in request else request.get("body")
    return await send(micro, request["method"], target, headers=request["headers"], body=body)


@pytest.mark.parametrize("case", load()["wire"], ids=lambda case: case["name"])
async def test_a_wire_case_gets_its_verdict(case: dict[str, Any], oracle: Oracle) -> None:
    expected = case["expected"]
    request = expand(case["request"])
    folder = public_schemas()
    unknown = oracle.unknown_schemas(request)
    if folder is None and unknown:
        pytest.skip(f"{NO_PUBLIC_SCHEMAS}: {unknown[0]}")
    async with Micro(schemas=[] if folder is None else [folder]) as micro:
        answer = await send_raw(micro, request)

        assert answer.status == expected.get("status", 200)
        if expected.get("status", 200) != 200:
            assert micro.counts()["total"] == 0
        elif expected.get("rejected"):
            assert micro.counts() == {"total": 1, "good": 0, "bad": 1}
            assert micro.bad[0]["rawEvent"] is None
            assert stage(micro.bad[0]) == BAD_ROWS[expected["stage"]]
        else:
            assert micro.counts()["good"] == expected["valid"].count(True)
            assert micro.counts()["bad"] == expected["valid"].count(False)
            if "stage" in expected:
                assert {stage(bad) for bad in micro.bad} == {BAD_ROWS[expected["stage"]]}
