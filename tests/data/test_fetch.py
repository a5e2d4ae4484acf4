import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from astrofm.data.fetch import fetch, is_fetchable
from astrofm.data.fetching.local_source import local_source
from astrofm.errors import FetchError, UsageError
from astrofm.home import home
from astrofm.survey import Survey

NOISE = np.random.default_rng(1).bytes(200_000)

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def make(tmp_path, write_card):
    """Return ``make(*archives, **changes)``: a survey with these archives on its card."""

    def make(*archives, **changes):
        return Survey.from_yaml(write_card(tmp_path / "card.yaml", archive=list(archives), **changes))

    return make


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def tar_of(files, top=""):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def test_all_files_of_a_card_come_into_one_folder_at_home(web, make):
    web.files |= {"/a": b"a" * 10, "/b": NOISE}
    said, told = [], []
    survey = make(
        {"name": "a.fits", "url": web.url("/a"), "size_bytes": 10, "licence": "CC BY 4.0"},
        {"name": "images/b.fits", "url": web.url("/b"), "sha256": sha256(NOISE), "licence": "MIT"},
    )
    fetched = fetch(survey, say=said.append, listener=lambda *progress: told.append(progress))
    folder = home() / "archives" / "test-field"
    assert fetched.source == folder
    assert (folder / "a.fits").read_bytes() == b"a" * 10
    assert (folder / "images" / "b.fits").read_bytes() == NOISE
    assert fetched.num_transferred == 200_010
    assert sorted(path.name for path in folder.rglob("*")) == ["a.fits", "b.fits", "fetched.json", "images"]
    assert said[0] == (
        f"test-field: fetching 2 files, at least 0.0 MB, from 127.0.0.1 to {folder}; licence: CC BY 4.0; MIT"
    )
    assert said[1:] == [f"no hash of a.fits was known; its sha256 {sha256(b'a' * 10)} is recorded"]
    assert told[-1][2] == "fetching test-field (MB)"


def test_what_is_here_is_not_fetched_again_and_needs_no_network(web, make, tmp_path):
    web.files["/a"] = NOISE
    survey = make({"name": "a.fits", "url": web.url("/a")})
    first = fetch(survey)
    said = []
    web.asked.clear()
    again = fetch(survey, say=said.append)
    assert (again.source, again.files, again.num_transferred) == (first.source, first.files, 0)
    assert (web.asked, said) == ([], [])
    record = json.loads((first.source / "fetched.json").read_text())
    kept = record["files"]["a.fits"]
    assert (kept["url"], kept["size_bytes"], kept["sha256"]) == (web.url("/a"), 200_000, sha256(NOISE))
    assert kept["hash_known"] is False


def test_a_file_that_was_touched_is_hashed_and_one_that_was_harmed_comes_anew(web, make):
    web.files["/a"] = NOISE
    survey = make({"name": "a.fits", "url": web.url("/a")})
    path = fetch(survey).source / "a.fits"
    os.utime(path, (1, 1))
    assert fetch(survey).num_transferred == 0
    path.write_bytes(b"x" + NOISE[1:])
    assert fetch(survey).num_transferred == 200_000
    path.unlink()
    assert fetch(survey).num_transferred == 200_000
    assert path.read_bytes() == NOISE


def test_a_file_that_another_survey_has_fetched_is_linked(web, make):
    web.files |= {"/a": NOISE, "/b": b"b" * 10}
    shared = {"name": "a.fits", "url": web.url("/a"), "sha256": sha256(NOISE)}
    first = fetch(make(shared)).source / "a.fits"
    (home() / "archives" / "broken").mkdir()
    (home() / "archives" / "broken" / "fetched.json").write_text("{")
    said = []
    own = {"name": "b.fits", "url": web.url("/b")}
    second = make({**shared, "name": "images/a.fits"}, own, name="second-field")
    fetched = fetch(second, say=said.append)
    assert fetched.num_transferred == 10
    assert (fetched.source / "images" / "a.fits").samefile(first)
    assert said[0] == f"second-field: images/a.fits is here already, as {first}"
    assert said[1].startswith("second-field: fetching 1 file,")
    assert fetch(second).num_transferred == 0
    first.unlink()
    assert (fetched.source / "images" / "a.fits").read_bytes() == NOISE


def test_a_file_of_another_survey_that_was_harmed_is_not_linked(web, make):
    web.files["/a"] = NOISE
    shared = {"name": "a.fits", "url": web.url("/a"), "sha256": sha256(NOISE)}
    first = fetch(make(shared)).source / "a.fits"
    first.write_bytes(b"x" + NOISE[1:])
    fetched = fetch(make(shared, name="second-field"))
    assert fetched.num_transferred == 200_000
    assert (fetched.source / "a.fits").read_bytes() == NOISE


def test_a_later_copy_is_compared_with_the_hash_recorded_first(web, make):
    web.files["/a"] = NOISE
    survey = make({"name": "a.fits", "url": web.url("/a")})
    path = fetch(survey).source / "a.fits"
    path.unlink()
    web.files["/a"] = NOISE[::-1]
    with pytest.raises(FetchError) as caught:
        fetch(survey)
    for part in (sha256(NOISE), sha256(NOISE[::-1]), "was recorded when it was first fetched", "fetched.json"):
        assert part in str(caught.value)
    assert not path.exists()
    (path.parent / "fetched.json").unlink()
    assert fetch(survey).files[0].sha256 == sha256(NOISE[::-1])


def test_a_wrong_hash_on_the_card_leaves_nothing_to_be_used(web, make):
    web.files |= {"/a": b"a", "/b": b"b"}
    survey = make(
        {"name": "a.fits", "url": web.url("/a"), "sha256": sha256(b"a")},
        {"name": "b.fits", "url": web.url("/b"), "sha256": sha256(b"c")},
    )
    with pytest.raises(FetchError, match=f"has the sha256 {sha256(b'b')}, and {sha256(b'c')} was expected"):
        fetch(survey)
    assert not (home() / "archives" / "test-field" / "b.fits").exists()


def test_a_hash_that_the_card_learns_later_is_compared_without_a_transfer(web, make):
    web.files["/a"] = NOISE
    fetch(make({"name": "a.fits", "url": web.url("/a")}))
    again = fetch(make({"name": "a.fits", "url": web.url("/a"), "sha256": sha256(NOISE)}))
    assert (again.num_transferred, again.files[0].hash_known) == (0, True)


def test_what_a_new_card_no_longer_names_is_removed(web, make):
    web.files |= {"/a": tar_of({"1.fits": b"1"}), "/b": b"b"}
    fetch(make({"name": "a.tar.gz", "url": web.url("/a"), "unpack": True}, {"name": "b.fits", "url": web.url("/b")}))
    said = []
    folder = fetch(make({"name": "c.fits", "url": web.url("/b")}), say=said.append).source
    assert sorted(path.name for path in folder.iterdir()) == ["c.fits", "fetched.json"]
    assert sum("no longer part of the archive" in sentence for sentence in said) == 2


def test_a_packed_archive_is_unpacked_once_and_is_the_source(web, make):
    web.files["/a"] = tar_of({"1.fits": b"1", "table.csv": b"id\n1\n"}, top="survey-v1/")
    survey = make({"name": "survey.tar.gz", "url": web.url("/a"), "unpack": True})
    source = fetch(survey).source
    assert source == home() / "archives" / "test-field" / "survey"
    assert sorted(path.name for path in source.iterdir()) == ["1.fits", "table.csv"]
    assert fetch(survey).source == source
    (source.parent / "survey.tar.gz").unlink()
    web.files["/b"] = tar_of({"2.fits": b"2"})
    fetch(make({"name": "survey.tar.gz", "url": web.url("/b"), "unpack": True}))
    assert [path.name for path in source.iterdir()] == ["2.fits"]


def test_packed_files_beside_others_each_have_their_folder(web, make):
    web.files |= {"/a": tar_of({"1.fits": b"1"}), "/t": gzip.compress(b"id\n1\n")}
    source = fetch(
        make(
            {"name": "images.tar.gz", "url": web.url("/a"), "unpack": True},
            {"name": "table.csv.gz", "url": web.url("/t"), "unpack": True},
        )
    ).source
    assert source == home() / "archives" / "test-field"
    assert (source / "images" / "1.fits").read_bytes() == b"1"
    assert (source / "table.csv").read_bytes() == b"id\n1\n"


def test_names_that_meet_and_files_that_cannot_be_unpacked_are_refused_before_a_transfer(web, make):
    web.files["/a"] = b"a"
    one = {"name": "a.csv", "url": web.url("/a")}
    for other in ({"name": "a.csv.gz", "url": web.url("/a"), "unpack": True}, one, {**one, "name": "fetched.json"}):
        with pytest.raises(FetchError, match="would have the name"):
            fetch(make(one, other))
    with pytest.raises(FetchError, match=r"a\.fits is to be unpacked, and is no \.tar"):
        fetch(make({"name": "a.fits", "url": web.url("/a"), "unpack": True}))
    with pytest.raises(FetchError, match=r"its name '\.\./a\.fits' leads out of the folder"):
        fetch(make({"name": "../a.fits", "url": web.url("/a")}))
    assert web.asked == []


def test_what_only_a_person_can_fetch_is_named(web, make):
    by_hand = {"name": "cutouts", "page": "https://sky.example/form", "note": "ask for 64 pixels"}
    with pytest.raises(FetchError, match=r"by a program: cutouts, https://sky\.example/form, ask for 64 pixels"):
        fetch(make(by_hand))
    with pytest.raises(FetchError, match="its card names none"):
        fetch(make())
    web.files["/t"] = b"t"
    survey = make(by_hand, {"name": "t.csv", "url": web.url("/t")})
    fetched = fetch(survey)
    assert [archive.name for archive in fetched.by_hand] == ["cutouts"]
    assert (fetched.source / "t.csv").read_bytes() == b"t"
    assert not is_fetchable(survey.card)


def test_a_folder_of_another_survey_is_refused(web, make, tmp_path):
    web.files["/a"] = b"a"
    fetch(make({"name": "a.fits", "url": web.url("/a")}), out=tmp_path / "kept")
    with pytest.raises(FetchError, match="holds the archive of 'test-field': choose another folder for 'other'"):
        fetch(make({"name": "a.fits", "url": web.url("/a")}, name="other"), out=tmp_path / "kept")


def test_a_damaged_record_is_one_sentence(web, make, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "fetched.json").write_text('{"survey": ')
    with pytest.raises(FetchError, match=r"fetched\.json is damaged .*: remove it to fetch anew"):
        fetch(make({"name": "a.fits", "url": web.url("/a")}), out=tmp_path / "kept")


def test_one_failing_file_stops_the_others_and_the_same_call_goes_on(web, make):
    for index in range(12):
        web.files[f"/{index}"] = NOISE + bytes([index])
    survey = make(*({"name": f"{index}.fits", "url": web.url(f"/{index}")} for index in range(12)))
    web.fail("/3", 403)
    web.block_bytes, web.pause_seconds = 20_000, 0.02
    with pytest.raises(FetchError, match="was refused: HTTP 403"):
        fetch(survey)
    folder = home() / "archives" / "test-field"
    here = sum(path.stat().st_size for pattern in ("*.fits", "*.part") for path in folder.glob(pattern))
    assert here < 11 * 200_001
    web.pause_seconds = 0
    fetched = fetch(survey)
    assert len(fetched.files) == 12
    assert fetched.num_transferred == 12 * 200_001 - here


def test_several_files_come_at_a_time_but_not_all(web, make):
    web.block_bytes, web.pause_seconds = 20_000, 0.02
    for index in range(8):
        web.files[f"/{index}"] = NOISE
    survey = make(*({"name": f"{index}.fits", "url": web.url(f"/{index}")} for index in range(8)))
    fetch(survey)
    assert 2 <= web.busiest <= 4
    assert len(web.asked) == 8


def test_two_at_once_transfer_everything_once(web, make):
    web.files["/a"] = NOISE
    web.block_bytes, web.pause_seconds = 20_000, 0.02
    survey = make({"name": "a.fits", "url": web.url("/a")})
    said = []
    with ThreadPoolExecutor(3) as pool:
        moved = [job.result().num_transferred for job in [pool.submit(fetch, survey, say=said.append) for _ in "abc"]]
    assert sorted(moved) == [0, 0, 200_000]
    assert any(sentence.startswith("another process is fetching into") for sentence in said)


PROGRAM = """
import sys
from astrofm.cli.main import run
sys.argv = ["astrofm", "survey", "fetch", sys.argv[1], "--json"]
run()
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fetch_of_several_files_that_is_killed_goes_on_where_it_was(web, make, tmp_path, signum, code):
    web.block_bytes, web.pause_seconds = 10_000, 0.05
    for index in range(4):
        web.files[f"/{index}"] = NOISE
    survey = make(*({"name": f"{index}.fits", "url": web.url(f"/{index}")} for index in range(4)))
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "card.yaml")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ends = time.monotonic() + 30
        while len([size for size in web.sent if size > 50_000]) < 4 and time.monotonic() < ends:
            time.sleep(0.01)
        process.send_signal(signum)
        assert process.wait() == code
    folder = home() / "archives" / "test-field"
    parts = sum(path.stat().st_size for path in folder.glob("*.part"))
    assert 4 * 20_000 < parts < 4 * 200_000
    assert not list(folder.glob("*.fits"))
    web.pause_seconds = 0
    assert fetch(survey).num_transferred == 4 * 200_000 - parts
    assert [path.read_bytes() for path in sorted(folder.glob("*.fits"))] == [NOISE] * 4
    assert not list(folder.glob("*.part*"))


def test_files_of_a_record_and_of_the_hub_come_with_the_hashes_their_publishers_give(web, make, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", web.base)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    md5 = hashlib.md5(NOISE, usedforsecurity=False).hexdigest()
    entry = {"key": "a.bin", "size": len(NOISE), "checksum": f"md5:{md5}", "links": {"self": web.url("/a")}}
    web.files |= {"/a": NOISE, "/api/records/7": json.dumps({"files": [entry]}).encode()}
    web.files["/api/datasets/me/sky/revision/main"] = b'{"sha": "c0ffee"}'
    large = {"oid": sha256(NOISE), "size": len(NOISE), "pointerSize": 130}
    listed = [{"type": "file", "oid": "1", "size": len(NOISE), "path": "data/b.bin", "lfs": large}]
    web.files["/api/datasets/me/sky/tree/c0ffee?recursive=true"] = json.dumps(listed).encode()
    web.files["/datasets/me/sky/resolve/c0ffee/data/b.bin"] = NOISE
    survey = make(
        {"name": "a.bin", "url": "doi:10.5281/zenodo.7"}, {"name": "all", "url": "hf://datasets/me/sky/data/*"}
    )
    fetched = fetch(survey, zenodo=web.base)
    assert [(file.name, file.hash_known) for file in fetched.files] == [("a.bin", True), ("data/b.bin", True)]
    assert (fetched.source / "data" / "b.bin").read_bytes() == NOISE
    assert "hf_secret" not in (fetched.source / "fetched.json").read_text()
    web.files["/a"] = NOISE[::-1]
    (fetched.source / "a.bin").unlink()
    with pytest.raises(FetchError, match=f"and {md5} was expected"):
        fetch(survey, zenodo=web.base)


def test_a_file_on_conditions_says_where_to_accept_them(web, make, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", web.base)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    web.files["/api/datasets/me/sky/revision/main"] = b'{"sha": "c0ffee"}'
    listed = [{"type": "file", "oid": "1", "size": 1, "path": "b.bin"}]
    web.files["/api/datasets/me/sky/tree/c0ffee?recursive=true"] = json.dumps(listed).encode()
    web.fail("/datasets/me/sky/resolve/c0ffee/b.bin", 401, X_Error_Code="GatedRepo")
    with pytest.raises(
        FetchError, match=r"accept its conditions on http://127\.0\.0\.1:\d+/datasets/me/sky, and set HF_TOKEN"
    ):
        fetch(make({"name": "all", "url": "hf://datasets/me/sky/b.bin"}))


# Where an ingest finds its source


@pytest.mark.parametrize("path", ["folder", "/abs/file.fits", "a/b"])
def test_a_path_is_a_path(make, path):
    assert local_source(path, make()) == Path(path)


def test_an_address_is_fetched_once_and_is_the_file(web, make):
    web.files["/x/mine.fits"] = NOISE
    survey = make()
    path = local_source(web.url("/x/mine.fits"), survey)
    assert path.name == "mine.fits"
    assert path.read_bytes() == NOISE
    assert path.is_relative_to(home() / "archives" / "test-field")
    assert local_source(web.url("/x/mine.fits"), survey) == path
    assert len(web.asked) == 1


def test_two_addresses_with_one_name_are_kept_apart(web, make):
    web.files |= {"/x/a.fits": b"x", "/y/a.fits": b"y"}
    survey = make()
    assert local_source(web.url("/x/a.fits"), survey).read_bytes() == b"x"
    assert local_source(web.url("/y/a.fits"), survey).read_bytes() == b"y"
    assert local_source(web.url("/x/a.fits"), survey).read_bytes() == b"x"


def test_a_packed_address_is_unpacked_unless_the_survey_reads_it_packed(web, make):
    web.files["/a.tar.gz"] = tar_of({"1.fits": b"1", "2.fits": b"2"})
    folder = local_source(web.url("/a.tar.gz"), make())
    assert sorted(path.name for path in folder.iterdir()) == ["1.fits", "2.fits"]
    product = {"pattern": "*.tar.gz", "shape": [1, 16, 16], "unit": "Jy/beam", "dtype": "float32"}
    path = local_source(web.url("/a.tar.gz"), make(name="other", products={"packed": product}))
    assert path.name == "a.tar.gz"
    assert path.is_file()


def test_an_address_on_the_card_is_compared_with_what_the_card_knows(web, make):
    web.files["/a.fits"] = NOISE
    survey = make({"name": "a.fits", "url": web.url("/a.fits"), "sha256": "0" * 64})
    with pytest.raises(FetchError, match="has the sha256"):
        local_source(web.url("/a.fits"), survey)


@pytest.mark.parametrize("source", ["s3://bucket/a", "ftp://user:s3cret@host/a", "hf://spaces/a/b/c"])
def test_an_address_that_cannot_be_fetched_is_one_sentence(make, source):
    with pytest.raises(UsageError, match=r"cannot be fetched: an address is https://") as caught:
        local_source(source, make())
    assert "s3cret" not in str(caught.value)


def test_without_a_source_the_archive_of_the_card_is_fetched(web, make):
    web.files["/a"] = NOISE
    source = local_source(None, make({"name": "a.fits", "url": web.url("/a")}))
    assert source == home() / "archives" / "test-field"
    with pytest.raises(FetchError, match=r"by a program \(by hand, write to us\): name a copy of it with --source, or"):
        local_source(None, make({"name": "by hand", "note": "write to us"}, {"name": "a.fits", "url": web.url("/a")}))
