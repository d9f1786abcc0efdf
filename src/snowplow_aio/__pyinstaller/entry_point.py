"""Tells PyInstaller where its hook for this package is (entry point ``pyinstaller40`` in pyproject.toml)."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folders of the hooks, for PyInstaller."""
    return [str(Path(__file__).parent)]
