"""Runs uWSGI, which is a module of C, with the options of the command line."""

from __future__ import annotations

import importlib
import sys

importlib.import_module("pyuwsgi").run(sys.argv[1:])
