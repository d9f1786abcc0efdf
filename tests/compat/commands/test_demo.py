"""The command line around its sub-commands."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from snowplow_aio.cli import demo
from snowplow_aio.cli.main import main
from snowplow_aio.version import __version__

EXTRAS = ("fastapi", "uvicorn", "rich", "jsonschema")

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from snowplow_aio.cli.main import main
sys.exit(main({arguments!r}))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("missing", EXTRAS)
def test_a_missing_extra_is_named_in_one_line_with_what_to_do(missing: str) -> None:
    ended = python("-c", WITHOUT.format(missing=missing, arguments=["demo"]))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f'snowplow-aio demo: {missing} is not installed: pip install "snowplow-aio[demo]"\n'
    )


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra() -> None:
    ended = python("-c", WITHOUT.format(missing="snowplow_aio.demo.shop", arguments=["demo"]))
    assert ended.returncode == 1
    assert "ModuleNotFoundError" in ended.stderr


def test_the_command_line_itself_needs_no_extra() -> None:
    code = f"import sys, snowplow_aio.cli.main; print(*sys.modules.keys() & {{*{EXTRAS!r}, 'starlette'}})"
    ended = python("-c", code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "\n", "")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"snowplow-aio {__version__}\n"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert {"demo", "micro"} <= set(capsys.readouterr().out.split())


def test_without_a_command_it_prints_help_and_returns_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: snowplow-aio")


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demonstrate"])
    assert ended.value.code == 2
    assert "'demonstrate'" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert main(["demo"]) == 130


def test_what_main_returns_is_the_exit_status() -> None:
    assert python("-m", "snowplow_aio.cli.main").returncode == 2
