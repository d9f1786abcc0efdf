"""Every example runs as its page says, and at its end all that it tracked has arrived and is valid."""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from snowplow_aio import SelfDescribing
from snowplow_aio.demo.shop import Cart, Product, Review
from tests.compat.examples.programs import (
    ROOT,
    Collector,
    Program,
    collecting,
    commands,
    requested,
    running,
)
from tests.ports import held_port

pytestmark = pytest.mark.anyio

# Fewer than make a batch, and done before the flush interval is over: their events are left to the end.
REQUESTS = 20


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running_collector:
        yield running_collector


@asynccontextmanager
async def serving(title: str, collector: Collector) -> AsyncGenerator[tuple[Program, list[str]]]:
    """Run the server of a section, on a free port; give it and the requests that the page makes."""
    with held_port() as port:
        server, *requests = [command.replace("8000", str(port)) for command in commands(title)]
        async with running(server, COLLECTOR=collector.url, PORT=str(port)) as program:
            # Not the same number as that of its process.
            await program.says(rf":{port}\b")
            yield program, requests


async def ask(client: aiohttp.ClientSession, command: str) -> None:
    """Make the request of a ``curl``."""
    method, url, rest = requested(command)
    async with client.request(method, url, **rest) as answer:
        assert answer.status < 300, (command, await answer.text())
        await answer.read()


async def visit(requests: list[str]) -> None:
    """Make each of *requests*, and many of the first at once."""
    async with aiohttp.ClientSession() as client:
        for request in requests:
            await ask(client, request)
        async with asyncio.TaskGroup() as group:
            for _ in range(REQUESTS):
                group.create_task(ask(client, requests[0]))


async def test_the_fastapi_shop_loses_nothing(collector: Collector) -> None:
    async with serving("A shop with FastAPI", collector) as (server, requests):
        await visit(requests)
        # Once all is closed, uvicorn ends by the signal that it got.
        assert await server.ends(signal.SIGTERM) == -signal.SIGTERM, server.output
    kinds = [event["event"] for event in await collector.good()]
    assert kinds.count("page_view") == 1 + REQUESTS
    assert kinds.count("transaction") == kinds.count("transaction_item") == 1
    assert kinds.count("unstruct") == 1 + 1 + REQUESTS


async def test_the_aiohttp_service_loses_nothing(collector: Collector) -> None:
    async with serving("An aiohttp service", collector) as (server, requests):
        await visit(requests)
        assert await server.ends(signal.SIGINT) == 0, server.output
    events = await collector.good()
    assert [event["event"] for event in events].count("page_view") == 1 + REQUESTS
    (loan,) = [event for event in events if event["event"] == "struct"]
    assert (loan["se_label"], loan["user_id"], loan["platform"]) == ("emma", "ada", "srv")
    assert len(events) == 2 + REQUESTS


async def test_the_litestar_app_loses_nothing(collector: Collector) -> None:
    async with serving("A Litestar application", collector) as (server, requests):
        await visit(requests)
        assert await server.ends(signal.SIGTERM) == -signal.SIGTERM, server.output
    events = await collector.good()
    assert len(events) == 3 + REQUESTS
    assert [event["event"] for event in events].count("page_view") == 1 + REQUESTS
    assert {event["platform"] for event in events} == {"srv"}
    assert {event["user_ipaddress"] for event in events} == {"127.0.0.1"}
    assert {event["useragent"].partition("/")[0] for event in events} == {"Python"}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_the_bot_tracks_every_command_with_its_author_through_lost_connections(
    collector: Collector, signum: signal.Signals
) -> None:
    play_chat, run_bot = commands("A bot")
    with held_port() as port:
        async with (
            running(play_chat, GATEWAY_PORT=str(port)) as gateway,
            running(run_bot, CHAT=f"http://127.0.0.1:{port}", COLLECTOR=collector.url) as bot,
        ):
            await gateway.says("All 30 commands are answered")
            assert await bot.ends(signum) == 0
    events = await collector.good()
    authors = {
        int(event["unstruct_event"]["data"]["data"]["message_id"]): event["user_id"] for event in events
    }
    assert len(events) == 30
    assert authors == {number: ("ada", "edsger", "grace")[number % 3] for number in range(1, 31)}
    assert bot.output.count("the connection is lost") >= 2
    assert "Traceback" not in bot.output


async def test_the_command_line_tool_tracks_each_file_and_keeps_its_exit_code(collector: Collector) -> None:
    (count,) = commands("A command line tool")
    async with running(count, COLLECTOR=collector.url) as tool:
        assert await tool.ends() == 1, tool.output
    readme, *_ = tool.lines
    events = await collector.good()
    assert [event["event"] for event in events] == ["struct", "struct", "unstruct"]
    assert f"README.md: {events[0]['se_value']:.0f}" == readme
    assert {event["app_id"] for event in events} == {"count-lines"}
    assert "Traceback" not in tool.output


async def test_the_command_line_tool_ends_where_there_is_no_collector() -> None:
    (count,) = commands("A command line tool")
    with held_port() as port:
        async with running(count, COLLECTOR=f"http://127.0.0.1:{port}") as tool:
            assert await tool.ends() == 1, tool.output
    assert "LICENSE" in tool.output
    assert "Traceback" not in tool.output


def test_the_schemas_are_those_of_the_models() -> None:
    models: list[type[SelfDescribing]] = [
        Product,
        Cart,
        Review,
        own_event("bot", "CommandUsed"),
        own_event("litestar_app", "Rating"),
    ]
    folder = ROOT / "docs" / "examples" / "schemas"
    # Those of the kiosk are of a program that has no models, as it comes from another tracker.
    found = (path for path in folder.glob("*/*/*/*") if path.parts[-4] != "com.example.kiosk")
    wanted = {f"iglu:{path.relative_to(folder)}": path for path in found}
    assert wanted.keys() == {model.schema_uri for model in models}
    for model in models:
        assert json.loads(wanted[model.schema_uri].read_text("utf-8")) == model.iglu_schema()


def own_event(example: str, name: str) -> type[SelfDescribing]:
    """Return the event *name* that *example* defines."""
    defined = runpy.run_path(str(ROOT / "docs" / "examples" / f"{example}.py"))
    model: type[SelfDescribing] = defined[name]
    return model
