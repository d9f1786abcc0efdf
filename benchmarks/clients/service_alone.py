"""
The service without tracking: what every other one is compared with.

Parameters: those of ``service.py``.
"""

from __future__ import annotations

from typing import Any

from common import parameters
from fastapi import FastAPI
from service import Service, item

app = FastAPI()


@app.get("/items/{number}")
async def show(number: int) -> dict[str, Any]:
    return item(number)


if __name__ == "__main__":
    Service(parameters(), {}).run(app)
