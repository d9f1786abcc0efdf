"""
Every check of the project; `nox` without arguments runs all but those that take long.

These are `chaos`, `fuzz`, `soak`, `neighbours`, `coverage` and `bench`.

Needs nothing but nox and a supported Python. Each further supported Python
that is found runs the tests too.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nox
from nox.virtualenv import HAS_UV, UV
from packaging.requirements import Requirement

nox.needs_version = ">=2026.2"
nox.options.reuse_venv = "yes"
# uv installs in a tenth of the time, where it is there (`pip install "nox[uv]"`).
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True

# Some containers forbid Python to keep bytecode. The tests start hundreds of programs, and each would
# compile every module again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
# What the embedded collector and the demo need is part of what is tested.
PACKAGE = ".[demo]"
# With what replaces parts of the standard library where it is installed.
FAST_EXTRAS = "[demo,speed]"
FAST_PACKAGE = f".{FAST_EXTRAS}"
# uv leaves it to the first import to compile a module; the workers of a test run would do so all at once.
BYTECODE = {"UV_COMPILE_BYTECODE": "1"}
# The modules that run for each event as Python (hatch_build.py): to be read, traced and patched.
PURE = {"SNOWPLOW_AIO_COMPILE": "0"}
# A module that is not compiled here is compiled when it is imported, and most are not.
PIP = ("-m", "pip", "install", "--no-compile")
# Or as users have them; only a machine of somebody's own may be without a compiler.
CAN_COMPILE = "CI" in os.environ or shutil.which("cc") is not None
COMPILED = {"SNOWPLOW_AIO_COMPILE": "1"} if CAN_COMPILE else PURE
SUPPORTED = nox.project.python_versions(PYPROJECT)


def group(name: str) -> list[str]:
    """Return the requirements of the dependency group *name*."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def list_pyenv_versions() -> None:
    """
    Make pyenv's shims answer for every supported Python that it has.

    A shim fails for a version that PYENV_VERSION does not list, although the
    version is installed.
    """
    if shutil.which("pyenv") is None:
        return
    listing = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    full = re.compile(rf"(?:{'|'.join(map(re.escape, SUPPORTED))})\.\d+")
    # Highest patch first: a shim takes the first that fits.
    found = sorted(filter(full.fullmatch, listing.stdout.split()), key=_numbers, reverse=True)
    chosen = os.environ.get("PYENV_VERSION", "").split(":")
    os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys(filter(None, [*chosen, *found, "system"])))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def present_pythons() -> list[str]:
    """Return the supported Python versions that this machine can run, oldest first."""
    list_pyenv_versions()
    running = "{}.{}".format(*sys.version_info)
    return [version for version in SUPPORTED if version == running or _runs(f"python{version}")]


def _runs(executable: str) -> bool:
    # An executable that is there may still be a shim that only complains.
    return (
        shutil.which(executable) is not None
        and subprocess.run([executable, "-c", ""], capture_output=True, check=False).returncode == 0
    )


PYTHONS = present_pythons()

# What `nox` alone runs. `newest` shares one environment among sessions: each would take ten seconds.
OLDER = PYTHONS[:-1] or PYTHONS
ON_EACH = [f"older-{version}" for version in OLDER]
nox.options.sessions = ["lint", "types", "imports", "build", *ON_EACH, "newest"]

# The Python whose tests run compiled, and for which the wheel is built.
COMPILED_PYTHON = PYTHONS[-2] if len(PYTHONS) > 1 else PYTHONS[-1]
BUILT = ROOT / ".nox" / "built"
# The wheel of this run, once it is built and tried.
fresh_wheels: list[Path] = []


def lowest_pins(lines: Iterable[str]) -> list[str]:
    """Return the requirements in *lines*, each pinned to the lowest version that it allows."""
    pins = []
    for line in lines:
        requirement = Requirement(line)
        lowest = (bound.version for bound in requirement.specifier if bound.operator == ">=")
        pins += [f"{requirement.name}=={version}" for version in lowest]
    return pins


def conformance() -> dict[str, str]:
    """Return where the tests find the public schema files, which are no part of the repository."""
    beside = ROOT.parent / "shared" / "conformance"
    if "SNOWPLOW_CONFORMANCE" not in os.environ and beside.is_dir():
        return {"SNOWPLOW_CONFORMANCE": str(beside)}
    return {}


def without(*paths: str) -> tuple[str, ...]:
    """Return the options with which pytest leaves out the tests at *paths*."""
    return tuple(f"--ignore={path}" for path in paths)


# The second tier: servers, kills and simulations. `chaos` has its full numbers.
FAULTS = "tests/faults"

# The third tier: the original tracker, old workers, programs that users write, and the pages.
COMPAT = ("tests/compat", "docs", "README.md")

# With SNOWPLOW_CHAOS=full, these play all their seeds, products and generated examples.
FULL = (FAULTS, "tests/compat/schemas", "tests/compat/original")

# What these run of the package, the rooms cover: traced, they would take twice as long and add nothing.
UNMEASURED = ("tests/compat/fuzz", "tests/compat/original", "tests/compat/schemas")

BENCHMARKS = "tests/benchmarks"

# What stands beside the library in a program. All but a few are installed by a session of their own.
NEIGHBOURS = "tests/neighbours"

# The first tier: every room by itself.
UNIT = ("tests", *without(FAULTS, COMPAT[0], BENCHMARKS, NEIGHBOURS))

# The two lists keep `nox` within a quarter of an hour on two cores. The sessions `tests`, and so the matrix
# on GitHub, play everything on each Python.
#
# What is compiled, and where the extra `speed` is used: a Python between the two ends is there for these.
BETWEEN = ("tests/delivery", "tests/events", "tests/model", "tests/sync", "tests/tracking")
# What stands on other libraries: the oldest Python has the lowest versions of those.
OLDEST = (
    "tests/http",
    "tests/instrumentation",
    "tests/integrations",
    "tests/local",
    "tests/redis",
    "tests/runtime",
)

DATA = ROOT / ".coverage"

# Twice as many as cores: a test often waits for a process or a clock.
WORKERS = str(2 * (os.cpu_count() or 1))


def run_pytest(session: nox.Session, *paths: str, measured: bool = False) -> None:
    """Run the tests at *paths* against the installed package; keep their coverage where it is *measured*."""
    session.run(
        *(("coverage", "run", "-m") if measured else ()),
        # By file: the blocks of a page, for one, follow each other.
        *("pytest", "-q", "-n", WORKERS, "--dist", "loadfile", *paths, *session.posargs),
        env={"COVERAGE_FILE": str(DATA), **conformance()},
    )


def run_side_by_side(*commands: Callable[[], object]) -> None:
    """Run *commands* at once, as each uses one core; when all have ended, fail if one has failed."""
    with ThreadPoolExecutor() as pool:
        for command in [pool.submit(command) for command in commands]:
            command.result()


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, sizes and the workflows."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", ".")
    # Offline: what asks GitHub (is this hash of that tag?) fails where there is no network, or no token.
    session.run("zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github")
    session.run("python", "tools/check_sizes.py", "src")


@nox.session
def types(session: nox.Session) -> None:
    """Run both type checkers, and check that the public types are complete."""
    session.install(*group("types"), FAST_PACKAGE, env=PURE)
    run_side_by_side(
        lambda: session.run("mypy"),
        lambda: session.run("pyright"),
        lambda: session.run("pyright", "--verifytypes", "snowplow_aio", "--ignoreexternal"),
    )


@nox.session
def imports(session: nox.Session) -> None:
    """Check that imports point down, floor by floor."""
    session.install(*group("imports"), PACKAGE, env=PURE)
    session.run("lint-imports")


@nox.session(python=COMPILED_PYTHON)
def build(session: nox.Session) -> None:
    """Do what `extras` and `docs` do."""
    session.install(*group("wheel"), *group("docs"), PACKAGE, env=PURE)
    run_side_by_side(lambda: build_wheel(session), lambda: build_docs(session))
    try_extras(session)


@nox.session(python=COMPILED_PYTHON)
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone and track one event with it."""
    session.install(*group("wheel"))
    build_wheel(session)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning or a dead reference fails."""
    session.install(*group("docs"), PACKAGE, env=PURE)
    build_docs(session)


def build_docs(session: nox.Session) -> None:
    """Build the pages with what is installed."""
    session.run(
        *("sphinx-build", "-W", "-n", "--keep-going", "-q", "docs", "docs/_build/html", *session.posargs)
    )


def build_wheel(session: nox.Session) -> None:
    """Build the wheel, and try it in an environment that has nothing else."""
    shutil.rmtree(BUILT, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(BUILT), ".", silent=True, env=COMPILED)
    (built,) = BUILT.glob("*.whl")
    smoke = str(ROOT / "tools" / "smoke.py")
    run_alone(session, str(built), smoke, *(["compiled"] if CAN_COMPILE else []))
    fresh_wheels.append(built)


def run_alone(session: nox.Session, requirement: str, *program: str) -> None:
    """Run the Python *program* in an environment that has *requirement* and nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        # virtualenv is there wherever nox is; `venv` is a package of its own on Debian.
        interpreter = str(session.virtualenv.bin_paths[0]) + "/python"
        command = (sys.executable, "-m", "virtualenv", "-q", "--python", interpreter, f"{directory}/venv")
        session.run(*command, external=True)
        python = f"{directory}/venv/bin/python"
        # That of nox, which need not be on the path.
        install = (UV, "pip", "install", "--python", python) if HAS_UV else (python, *PIP)
        session.run(*install, requirement, external=True, silent=True)
        # Isolated: neither this directory nor PYTHONPATH may lend a module.
        session.run(python, "-I", *program, external=True)


@nox.session(python=COMPILED_PYTHON)
def extras(session: nox.Session) -> None:
    """Try each extra in an environment that has nothing else."""
    session.install(*group("wheel"))
    build_wheel(session)
    try_extras(session)


def try_extras(session: nox.Session) -> None:
    """Try each extra of the wheel that was just built."""
    program = str(ROOT / "tools" / "smoke_extras.py")
    names = PYPROJECT["project"]["optional-dependencies"]
    run_side_by_side(
        *(partial(run_alone, session, f"{fresh_wheels[-1]}[{name}]", program, name) for name in names)
    )


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """
    Run the unit and contract tests of every room.

    The oldest Python has the lowest version of each core dependency. The others have the
    package compiled and with the extra `speed`, as users do.
    """
    test_rooms(session, *UNIT)


@nox.session(python=OLDER)
def older(session: nox.Session) -> None:
    """Do what `tests` does, in the rooms for which the newest Python is not enough."""
    test_rooms(session, *(BETWEEN + OLDEST if session.python == PYTHONS[0] else BETWEEN))


def test_rooms(session: nox.Session, *rooms: str) -> None:
    """Install what the tests of the *rooms* need, and run them."""
    if session.python == SUPPORTED[0]:
        pins = lowest_pins(PYPROJECT["project"]["dependencies"])
        install_pinned(session, pins, *group("tests"), *group("arq"), PACKAGE)
        # Celery's client of its broker asks for a newer redis-py than this library does.
        run_pytest(session, *rooms, *without("tests/celery"))
        # Here is the redis-py that arq takes.
        run_pytest(session, "tests/compat/patterns", "-k", "arq", "-n", "0")
    else:
        # What was built a moment ago is what users get; it need not be compiled twice.
        is_built = bool(fresh_wheels) and session.python == COMPILED_PYTHON
        package = f"{fresh_wheels[0]}{FAST_EXTRAS}" if is_built else FAST_PACKAGE
        session.install(*group("tests"), package, env=COMPILED | BYTECODE)
        run_pytest(session, *rooms)


def install_pinned(
    session: nox.Session, pins: list[str], *requirements: str, env: dict[str, str] = PURE
) -> None:
    """Install *requirements* with the versions that *pins* say."""
    # Not `session.create_tmp`: that moves the tests' temporary files into this directory too, where
    # paths are too long for a Unix socket and pytest finds this project's conftest.py.
    with tempfile.TemporaryDirectory() as directory:
        constraints = Path(directory, "lowest.txt")
        constraints.write_text("\n".join(pins))
        session.install(*requirements, "-c", str(constraints), env=env | BYTECODE)


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """Do what `faults`, `smoke`, `seeded_bugs` and, unmeasured, `coverage` do, in one environment."""
    session.install(*group("tests"), *group("bench"), PACKAGE, env=PURE | BYTECODE)
    # Traced, they take nearly twice as long.
    run_pytest(session, *UNIT)
    run_pytest(session, *COMPAT, *without(*UNMEASURED))
    # At once: the tests of faults mostly wait, and the others mostly compute.
    run_side_by_side(
        lambda: run_pytest(session, FAULTS, NEIGHBOURS, *UNMEASURED, BENCHMARKS),
        lambda: seed_bugs(session),
    )


@nox.session(python=PYTHONS[-1])
def coverage(session: nox.Session) -> None:
    """Run the tests of rooms and of `compat`, and report what they cover of the package as Python."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    measure_coverage(session)
    run_pytest(session, *UNMEASURED)


def measure_coverage(session: nox.Session) -> None:
    """Run two of the tiers, and fail where they cover too little together."""
    session.run("coverage", "erase")
    run_pytest(session, *UNIT, measured=True)
    # The commands and the demo are covered here.
    run_pytest(session, *COMPAT, *without(*UNMEASURED), measured=True)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session(python=PYTHONS[-1])
def compat(session: nox.Session) -> None:
    """Test beside the original tracker and old workers, and run every block and program of the pages."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    run_pytest(session, *COMPAT)


@nox.session(python=PYTHONS[-1])
def faults(session: nox.Session) -> None:
    """Test what is promised under faults: servers, kills and simulations, in a short version."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    run_pytest(session, FAULTS)


@nox.session(python=sorted({PYTHONS[0], PYTHONS[-1]}, key=_numbers))
def neighbours(session: nox.Session) -> None:
    """
    Test beside Sentry, Django, other servers, loops and more; `-- --write` writes what was found out.

    The oldest Python has the lowest version of each of them, the newest the latest.
    """
    beside = [line for line in group("neighbours") if line not in group("tests") or is_neighbour(line)]
    pins = lowest_pins(beside) if session.python == SUPPORTED[0] else []
    # Compiled, as users have it.
    install_pinned(session, pins, *group("neighbours"), PACKAGE, env=COMPILED)
    env = {"SNOWPLOW_NEIGHBOURS": "all", **conformance()}
    session.run("pytest", "-q", "-n", WORKERS, "--dist", "load", NEIGHBOURS, *session.posargs, env=env)


def is_neighbour(line: str) -> bool:
    """Return whether the requirement in *line* is for a neighbour, though other tests need it too."""
    servers = {"gunicorn", "hypercorn", "uvicorn-worker", "waitress"}
    return Requirement(line).name in servers | {"celery", "django", "flask", "sentry-sdk"}


@nox.session(python=PYTHONS[-1])
def smoke(session: nox.Session) -> None:
    """Run each benchmark once in a small form, without looking at its times, and draw the pictures."""
    session.install(*group("tests"), *group("bench"), PACKAGE, env=PURE | BYTECODE)
    run_pytest(session, BENCHMARKS)


@nox.session(python=PYTHONS[-1])
def seeded_bugs(session: nox.Session) -> None:
    """Seed known bugs into copies of the library: the tests must catch each."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    seed_bugs(session, *session.posargs)


def seed_bugs(session: nox.Session, *names: str) -> None:
    """Seed the bugs called *names*, or all, one at a time, and run the tests that are to catch them."""
    session.run("python", "tools/seeded_bugs.py", *names, env=conformance())


@nox.session(python=PYTHONS[-1])
def chaos(session: nox.Session) -> None:
    """Test the promises and the comparisons with their full numbers: an hour or more."""
    session.install(*group("tests"), PACKAGE, env=PURE)
    env = {"SNOWPLOW_CHAOS": "full", **conformance()}
    session.run("pytest", "-q", *FULL, *session.posargs, env=env)


@nox.session(python=PYTHONS[-1])
def fuzz(session: nox.Session) -> None:
    """Try a million inputs by chance, or as many as is said after `--`: half an hour of two cores."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    inputs, *rest = session.posargs or ["1000000"]
    env = {"SNOWPLOW_FUZZ_INPUTS": inputs, **conformance()}
    session.run("pytest", "-q", "-n", WORKERS, "tests/compat/fuzz", *rest, env=env)


@nox.session(python=PYTHONS[-1])
def soak(session: nox.Session) -> None:
    """Track under all faults at once for 15 minutes, or as many seconds as are said after `--`."""
    session.install(*group("tests"), PACKAGE, env=PURE | BYTECODE)
    seconds, *rest = session.posargs or ["900"]
    session.run("pytest", "-v", "tests/faults/test_soak.py", *rest, env={"SNOWPLOW_SOAK_SECONDS": seconds})


@nox.session
def bench(session: nox.Session) -> None:
    """Make the figures of docs/explanation/performance.md; arguments after `--` go to the command."""
    session.install(*group("bench"), PACKAGE, env=PURE)
    session.run("python", "benchmarks/run.py", *session.posargs)
