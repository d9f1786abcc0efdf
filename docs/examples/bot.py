"""
A bot that answers the commands of a chat, and tracks each of them.

It holds one connection to a gateway that speaks like Discord's, and comes back
when that is lost. Ctrl-C or SIGTERM ends it, and the last events are sent.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
from typing import Any

import aiohttp

from snowplow_aio import HttpEmitter, SelfDescribing, Tracker, use_subject

COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")
CHAT = os.environ.get("CHAT", "http://127.0.0.1:8081")
TOKEN = os.environ.get("BOT_TOKEN", "")

# The protocol's opcodes.
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, HELLO = 0, 1, 2, 6, 10

LONGEST_PAUSE = 60.0

log = logging.getLogger("bot")


class CommandUsed(SelfDescribing, schema="iglu:com.example.bot/command_used/jsonschema/1-0-0"):
    """Somebody used a command."""

    command: str
    channel_id: str
    message_id: str


class Bot:
    """Answers the command ``!roll`` with a number from 1 to 6."""

    def __init__(self, tracker: Tracker, http: aiohttp.ClientSession) -> None:
        self.tracker = tracker
        self.http = http
        self.session_id: str | None = None
        self.sequence: int | None = None
        self.failures = 0

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with self.http.ws_connect("/gateway") as gateway:
                    await self.converse(gateway)
            pause = random.uniform(0, min(LONGEST_PAUSE, 0.1 * 2**self.failures))
            self.failures += 1
            log.info("the connection is lost, and tried again in %.1f s", pause)
            await asyncio.sleep(pause)

    async def converse(self, gateway: aiohttp.ClientWebSocketResponse) -> None:
        """Hear what is said on one connection, as long as it lasts."""
        async with contextlib.AsyncExitStack() as connection:
            async for message in gateway:
                said = message.json()
                if said["op"] == HELLO:
                    interval = said["d"]["heartbeat_interval"] / 1000
                    beating = asyncio.create_task(self.beat(gateway, interval))
                    connection.callback(beating.cancel)
                    await gateway.send_json(self.greeting())
                elif said["op"] == DISPATCH:
                    self.sequence = said["s"]
                    await self.hear(said["t"], said["d"])

    async def beat(self, gateway: aiohttp.ClientWebSocketResponse, interval: float) -> None:
        """Tell the gateway now and then that somebody is here."""
        # Whoever reads notices a connection that is lost.
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(interval)
                await gateway.send_json({"op": HEARTBEAT, "d": self.sequence})

    def greeting(self) -> dict[str, Any]:
        """Return what a connection begins with: who we are, or where we were."""
        if self.session_id is None:
            return {"op": IDENTIFY, "d": {"token": TOKEN}}
        return {"op": RESUME, "d": {"token": TOKEN, "session_id": self.session_id, "seq": self.sequence}}

    async def hear(self, kind: str, data: dict[str, Any]) -> None:
        """Do what an event of the gateway asks for."""
        if kind in {"READY", "RESUMED"}:
            self.failures = 0
            self.session_id = data["session_id"]
        elif kind == "MESSAGE_CREATE" and data["content"] == "!roll":
            # Every event that is tracked in here is about the author, and about nobody out of here.
            with use_subject(user_id=data["author"]["id"]):
                await self.roll(data)

    async def roll(self, message: dict[str, Any]) -> None:
        """Roll a die."""
        used = CommandUsed(command="roll", channel_id=message["channel_id"], message_id=message["id"])
        await self.tracker.track(used)
        answer = {"content": f"{random.randint(1, 6)}"}
        async with self.http.post(f"/channels/{message['channel_id']}/messages", json=answer) as response:
            response.raise_for_status()


async def main() -> None:
    """Run the bot until it is interrupted or told to end."""
    async with (
        # Around all else: closed last, in 5 seconds at most.
        Tracker(HttpEmitter(COLLECTOR), namespace="bot", app_id="dice", platform="srv") as tracker,
        aiohttp.ClientSession(CHAT) as http,
    ):
        running = asyncio.create_task(Bot(tracker, http).run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await running


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main())
