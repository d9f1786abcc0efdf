"""
A stand-in for the gateway and the API of a chat, to try `bot.py` on this machine.

It speaks a little of Discord's protocol: three users give thirty commands, each
when the one before is answered, and twice the connection is lost in between.
"""

import asyncio
import os
from typing import Any

from aiohttp import WSMsgType, web

PORT = int(os.environ.get("GATEWAY_PORT", "8081"))

USERS = ("ada", "edsger", "grace")
COMMANDS = 30
PER_CONNECTION = 10

# The protocol's opcodes.
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 10, 11


class Chat:
    """What is said, and how many answers came."""

    def __init__(self) -> None:
        self.said = 0
        self.answers: asyncio.Queue[str] = asyncio.Queue()

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        """Hold one connection of a bot."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 500}})
        greeting = await socket.receive_json()
        kind = {IDENTIFY: "READY", RESUME: "RESUMED"}[greeting["op"]]
        await say(socket, kind, self.said, {"session_id": "s-1"})
        talking = asyncio.create_task(self.talk(socket))
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.json()["op"] == HEARTBEAT:
                await socket.send_json({"op": HEARTBEAT_ACK})
        talking.cancel()
        return socket

    async def talk(self, socket: web.WebSocketResponse) -> None:
        """Give commands until the connection shall be lost, or there are no more."""
        while self.said < COMMANDS:
            self.said += 1
            message = {
                "id": str(self.said),
                "channel_id": "lobby",
                "author": {"id": USERS[self.said % 3]},
                "content": "!roll",
            }
            await say(socket, "MESSAGE_CREATE", self.said, message)
            await self.answers.get()
            if self.said % PER_CONNECTION == 0 and self.said < COMMANDS:
                # 4000: what a bot answers by coming back.
                await socket.close(code=4000)
                return
        print(f"All {COMMANDS} commands are answered", flush=True)

    async def answer(self, request: web.Request) -> web.Response:
        """Take what a bot says."""
        await self.answers.put((await request.json())["content"])
        return web.json_response({})


async def say(socket: web.WebSocketResponse, kind: str, sequence: int, data: dict[str, Any]) -> None:
    """Tell a bot what happened."""
    await socket.send_json({"op": DISPATCH, "t": kind, "s": sequence, "d": data})


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    chat, app = Chat(), web.Application()
    app.add_routes([web.get("/gateway", chat.gateway), web.post("/channels/{channel}/messages", chat.answer)])
    web.run_app(app, host="127.0.0.1", port=PORT)


if __name__ == "__main__":
    main()
