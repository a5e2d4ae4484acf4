"""docs/data.md lists every reason for which a cutout is not taken, and its example in Python reads a store."""

import re
from pathlib import Path

from astrofm import plugins
from astrofm.data.forms.folder_files import NO_FILE, NO_ROW
from astrofm.data.forms.mosaic import NO_POSITION, OUTSIDE
from astrofm.data.ingest import ingest

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


def test_the_example_in_python_reads_a_store(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    code = page.partition("## Reading a store in Python")[2].partition("```python\n")[2].partition("```")[0]
    nvss = plugins.survey("nvss")
    ingest(nvss, nvss.mock(6, 0, tmp_path / "mock"), tmp_path / "nvss.zarr")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "docs/data.md", "exec"), names)
    assert names["images"].shape == (4, 1, 64, 64)
    assert names["missing"] is None or names["missing"].shape == (4, 64, 64)
    assert len(names["ids"]) == len(names["ra"]) == len(names["rms"]) == 6
    assert "'id_str'" in capsys.readouterr().out
