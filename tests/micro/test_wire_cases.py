"""Every raw request of the conformance data gets the pipeline's verdict."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.micro import Micro

from .wire import BAD_ROWS, Answer, send, stage

pytestmark = pytest.mark.anyio


def wire_cases() -> list[Any]:
    folder = os.environ.get("SNOWPLOW_CONFORMANCE")
    if not folder:
        reason = "SNOWPLOW_CONFORMANCE does not name the folder with the conformance data"
        return [pytest.param({}, id="no-conformance-data", marks=pytest.mark.skip(reason=reason))]
    cases = json.loads((Path(folder) / "cases.json").read_text("utf-8"))["wire"]
    return [pytest.param(case, id=case["name"]) for case in cases]


async def send_raw(micro: Micro, request: dict[str, Any]) -> Answer:
    target = f"{request['path']}?{request['query']}" if request.get("query") else request["path"]
    body = base64.b64decode(request["body_b64"]) if "body_b64" in request else request.get("body")
    return await send(micro, request["method"], target, headers=request["headers"], body=body)


@pytest.mark.parametrize("case", wire_cases())
async def test_a_wire_case_gets_its_verdict(case: dict[str, Any], conformance: Path, oracle: Any) -> None:
    expected = case["expected"]
    async with Micro(schemas=[conformance]) as micro:
        answer = await send_raw(micro, oracle.expand(case["request"]))

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
