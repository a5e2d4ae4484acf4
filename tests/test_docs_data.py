"""docs/data.md lists every reason for which a cutout is not taken."""

import re
from pathlib import Path

from astrofm.data.forms.folder_files import NO_FILE, NO_ROW
from astrofm.data.forms.mosaic import NO_POSITION, OUTSIDE

ROOT = Path(__file__).parents[1]
GIVEN = re.compile(r"(?:Rejected|UnusableMosaicError)\(\s*\"([a-zA-Z0-9- ]+)\"")


def reasons_in(folder):
    sources = (path for path in (ROOT / folder).rglob("*.py") if "tests" not in path.parts)
    return {reason for path in sources for reason in GIVEN.findall(path.read_text(encoding="utf-8"))}


def test_every_reason_is_in_the_table():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    section = page.partition("## What is not taken")[2].partition("\n## ")[0]
    listed = {word for line in section.splitlines() if line.startswith("| `") for word in re.findall("`([^`]+)`", line)}
    given = reasons_in("astrofm") | reasons_in("plugins") | {NO_FILE, NO_ROW, NO_POSITION, OUTSIDE}
    assert len(given) > 25
    assert given - listed == set()
