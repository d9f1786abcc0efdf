import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGE = """
```python
try:
    [].pop()
except IndexError as error:
    raise ValueError("a cause of one frame") from error
```

```python
import gc

# Else it may come by before the page is at its end.
gc.disable()


class Connection:
    def __init__(self):
        self.itself = self

    def __del__(self):
        import warnings

        warnings.warn("unclosed connection", ResourceWarning)


connection = Connection()
connection = None
```
"""


def test_a_block_that_fails_and_one_that_leaves_a_thing_unclosed_fail_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    for name in ("README.md", "docs/other.md"):
        page = tmp_path / name
        page.parent.mkdir(exist_ok=True)
        page.write_text(PAGE)
    pytest = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "--confcutdir", "."]
    ended = subprocess.run(
        [*pytest, "-q", "-p", "no:asyncio", "-W", "error", "--color=no", "README.md", "docs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.splitlines()[-1].startswith("2 failed, 2 passed, 2 errors")
    assert ended.stdout.count("IndexError: pop from empty list") == 2
    assert ended.stdout.count("ResourceWarning: unclosed connection") == 2


def test_the_road_of_an_event_has_at_most_fifteen_files_and_enters_each_once() -> None:
    page = (ROOT / "docs/explanation/life-of-an-event.md").read_text("utf-8")
    road = re.findall(r"^\| (\d+) \| `([\w/]+\.py)` \|", page, re.MULTILINE)
    files = [file for _, file in road]

    assert [int(number) for number, _ in road] == list(range(1, len(road) + 1))
    assert 1 < len(files) <= 15
    assert sorted(files) == sorted(re.findall(r"[\w/]+\.py\b", page)), "named twice, or outside the list"
    missing = [file for file in files if not (ROOT / "src/snowplow_aio" / file).is_file()]
    assert missing == []


def test_references_to_the_protocol_name_a_section_of_its_page() -> None:
    page = (ROOT / "docs/explanation/protocol.md").read_text("utf-8")
    sections = set(re.findall(r"^## (.+)$", page, re.MULTILINE))
    named: set[str] = set()
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        # A reference may be wrapped, in a docstring or a comment.
        text = re.sub(r"\s*\n[\s#]*", " ", path.read_text("utf-8"))
        named.update(re.findall(r'docs/explanation/protocol\.md, "([^"]+)"', text))

    assert named
    assert named <= sections
