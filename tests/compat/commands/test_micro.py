"""The program `snowplow-aio micro`, run as a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from snowplow_aio.micro import Micro
from tests.micro.wire import TP2, envelope, page_view

pytestmark = pytest.mark.anyio

PROGRAM = """
import argparse, sys
from snowplow_aio.cli import micro
parser = argparse.ArgumentParser(prog="snowplow-aio")
micro.add_parser(parser.add_subparsers(required=True))
args = parser.parse_args()
sys.exit(args.run(args))
"""


@asynccontextmanager
async def running(*options: str, program: str = PROGRAM) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def url_of(process: asyncio.subprocess.Process) -> str:
    """Read the lines of the start and return the URL in them."""
    lines = [await line_of(process) for _ in range(3)]
    match = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+)", lines[0])
    assert match is not None, lines
    assert f'HttpEmitter("{match[1]}")' in lines[1]
    assert f"{match[1]}/micro/all" in lines[2]
    return match[1]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(20):
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def track(url: str, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + TP2, data=body, headers=headers) as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_0_and_a_summary(signum: signal.Signals) -> None:
    async with running("micro", "--port", "0") as process:
        url = await url_of(process)
        await track(url, envelope(page_view(aid="shop"), page_view(vid="x", aid="shop")))
        good, bad = await line_of(process), await line_of(process)
        process.send_signal(signum)
        assert await ended(process) == (0, "Stopped: 1 good, 1 bad events\n", "")
    assert good.startswith("GOOD id:")
    assert "app_id:shop type:page_view (iglu:com.snowplowanalytics.snowplow/page_view" in good
    assert bad.startswith(
        "BAD id:None app_id:shop vid (domain_sessionidx): must be a 32-bit integer, got 'x'"
    )


async def test_quiet_prints_no_line_for_an_event() -> None:
    async with running("micro", "--port", "0", "--quiet") as process:
        await track(await url_of(process), envelope(page_view()))
        process.terminate()
        assert await ended(process) == (0, "Stopped: 1 good, 0 bad events\n", "")


async def test_folders_of_schemas_are_used(tmp_path: Path) -> None:
    folders = []
    for name in ("one", "two"):
        folder = tmp_path / name / "com.acme" / name / "jsonschema"
        folder.mkdir(parents=True)
        (folder / "1-0-0").write_text('{"type": "object"}', "utf-8")
        folders += ["--schemas", str(tmp_path / name)]
    entities = [{"schema": f"iglu:com.acme/{name}/jsonschema/1-0-0", "data": {}} for name in ("one", "two")]
    contexts = {"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1", "data": entities}
    async with running("micro", "--port", "0", *folders) as process:
        await track(await url_of(process), envelope(page_view(co=json.dumps(contexts))))
        assert (await line_of(process)).startswith("GOOD")


async def test_a_port_in_use_is_one_line_and_1(micro: Micro) -> None:
    async with running("micro", "--port", str(micro.port)) as process:
        code, output, errors = await ended(process)
    assert (code, output) == (1, "")
    assert re.fullmatch(rf"snowplow-aio micro: cannot listen on 127\.0\.0\.1:{micro.port}: .+\n", errors)


async def test_a_missing_folder_is_one_line_and_1(tmp_path: Path) -> None:
    async with running("micro", "--port", "0", "--schemas", str(tmp_path / "none")) as process:
        code, output, errors = await ended(process)
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("snowplow-aio micro: schemas: must be an existing folder")


async def test_a_missing_extra_is_one_line_and_1() -> None:
    program = f"import sys; sys.modules['jsonschema'] = None{PROGRAM}"
    async with running("micro", "--port", "0", program=program) as process:
        code, _, errors = await ended(process)
    assert code == 1
    line = 'snowplow-aio micro: the collector needs jsonschema: pip install "snowplow-aio[micro]"\n'
    assert errors == line


@pytest.mark.parametrize("port", ["-1", "65536", "x", "٣"])
async def test_a_port_that_is_none_is_a_usage_error(port: str) -> None:
    async with running("micro", f"--port={port}") as process:
        code, _, errors = await ended(process)
    assert code == 2
    assert "must be a port from 0 to 65535" in errors


async def test_a_schema_that_is_not_found_says_where_to_name_its_folder() -> None:
    entity = {"schema": "iglu:com.acme/nowhere/jsonschema/1-0-0", "data": {}}
    contexts = {"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1", "data": [entity]}
    async with running("micro", "--port", "0") as process:
        await track(await url_of(process), envelope(page_view(co=json.dumps(contexts)), page_view(vid="x")))
        unknown, wrong = await line_of(process), await line_of(process)
    assert "iglu:com.acme/nowhere/jsonschema/1-0-0: not found" in unknown
    assert "--schemas" in unknown
    assert "--schemas" not in wrong


async def test_the_bounds_and_the_trusted_origins_are_options() -> None:
    options = (
        "--capacity",
        "2",
        "--capacity-bytes",
        "1000000",
        "--origin",
        "http://localhost:3000",
        "--quiet",
    )
    async with running("micro", "--port", "0", *options) as process:
        url = await url_of(process)
        await track(url, envelope(*[page_view()] * 3))
        headers = {"Origin": "http://localhost:3000"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/micro/all", headers=headers) as answer,
        ):
            assert await answer.json() == {"total": 3, "good": 3, "bad": 0, "removed": 1}


@pytest.mark.parametrize("capacity", ["0", "-1", "x", "1.5"])
async def test_a_capacity_that_is_none_is_a_usage_error(capacity: str) -> None:
    async with running("micro", f"--capacity={capacity}") as process:
        code, _, errors = await ended(process)
    assert code == 2
    assert "must be a whole number from 1" in errors


async def test_an_origin_that_is_none_is_one_line_and_1() -> None:
    async with running("micro", "--port", "0", "--origin", "localhost") as process:
        code, output, errors = await ended(process)
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("snowplow-aio micro: origins: must be an origin like")


async def test_an_event_cannot_write_lines_or_commands_into_the_terminal() -> None:
    evil = "\x1b[2J\x9b31m\nGOOD id:forged\r\u202e"
    async with running("micro", "--port", "0") as process:
        url = await url_of(process)
        await track(url, envelope(page_view(aid=evil), page_view(eid=evil, aid=evil, vid=evil)))
        await track(url, envelope(page_view(aid="x" * 100_000, vid="y" * 100_000)))
        lines = [await line_of(process) for _ in range(3)]
        process.terminate()
        assert await ended(process) == (0, "Stopped: 1 good, 2 bad events\n", "")
    assert [line.split()[0] for line in lines] == ["GOOD", "BAD", "BAD"]
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 2_100
