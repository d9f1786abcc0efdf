"""Programs that make one program of a script and of all that it imports."""

from __future__ import annotations

from tests.neighbours.neighbour import Neighbour

FREEZERS = {"PyInstaller": Neighbour(packages=("pyinstaller",))}
