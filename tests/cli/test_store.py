import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from astrofm import plugins
from astrofm.survey import Survey


@pytest.fixture
def store(tmp_path, radio_store):
    return shutil.copytree(radio_store, tmp_path / "field.zarr")


def damage(store):
    shard = max((path for path in store.rglob("c/*/*/*/*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    return shard.relative_to(store).as_posix()


def test_info_says_what_is_in_a_store(astrofm, radio_store):
    info = json.loads(astrofm("store", "info", radio_store, "--json").stdout)
    assert info["num_cutouts"] == 36
    assert info["survey"] == "test-field"
    assert info["mock"] is False
    shown = astrofm("store", "info", radio_store)
    assert "36 x 1 x 16 x 16" in shown.stdout
    assert "test-field" in shown.stdout
    assert "mock" not in shown.stderr


def test_a_store_is_found_by_its_survey_unless_something_lies_at_that_name(astrofm, tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert astrofm("ingest", "--survey", "nvss", "--mock", "8").code == 0
    shown = json.loads(astrofm("store", "info", "nvss", "--json").stdout)
    assert shown["num_cutouts"] == 8
    kept = Path(shown["store"])
    assert astrofm("store", "verify", "nvss").code == 0
    assert json.loads(astrofm("store", "overlap", "nvss", kept, "--json").stdout)["num_pairs"] == 8
    (tmp_path / "nvss").mkdir()
    assert "no store" in astrofm("store", "info", "nvss").sentence


def test_what_was_not_taken_is_listed_with_its_reason(astrofm, radio_card_folder, write_field, tmp_path):
    card, archive = radio_card_folder / "card.yaml", write_field(tmp_path / "a", [1.0, 2.0], [0.0] * 2, ["train"] * 2)
    (archive / "s001.fits").write_bytes((archive / "s001.fits").read_bytes()[:3000])
    assert astrofm("ingest", "--survey", card, "--source", archive, "--out", tmp_path / "a.zarr").code == 0
    info = json.loads(astrofm("store", "info", tmp_path / "a.zarr", "--rejected", "--json").stdout)
    (row,) = info["rejected_rows"]
    assert (row["id_str"], row["file"], row["reason"]) == ("s001", "s001.fits", "truncated file")
    assert row["detail"]
    said = astrofm("store", "info", tmp_path / "a.zarr", "--rejected").stdout
    assert "not taken: 1" in said
    assert "truncated file" in said.partition("not taken")[2]
    (tmp_path / "a.zarr" / "rejected.parquet").write_bytes(b"PAR1")
    ended = astrofm("store", "info", tmp_path / "a.zarr", "--rejected")
    assert "rejected.parquet of" in ended.sentence


def test_a_whole_store_is_verified(astrofm, radio_store):
    ended = astrofm("store", "verify", radio_store)
    assert (ended.code, ended.stderr) == (0, "every hash is right\n")


def test_a_damaged_store_exits_with_1_and_is_mended_from_the_archive(
    astrofm, store, radio_card_folder, tmp_path, monkeypatch
):
    file = damage(store)
    ended = astrofm("store", "verify", store, "--json")
    assert ended.code == 1
    assert file in json.loads(ended.stdout)["damages"][0]
    said = astrofm("store", "verify", store).stderr
    assert "astrofm store repair" in said
    shutil.copytree(radio_card_folder, tmp_path / "cards", ignore=shutil.ignore_patterns("*.zarr", "archive"))
    monkeypatch.setenv("ASTROFM_SURVEYS", str(tmp_path / "cards"))
    plugins.forget()
    mended = astrofm("store", "repair", store, "--source", radio_card_folder / "archive", "--json")
    assert mended.code == 0
    assert file in json.loads(mended.stdout)["repaired"][0]
    assert astrofm("store", "verify", store).code == 0
    again = astrofm("store", "repair", store, "--source", radio_card_folder / "archive")
    assert again.stderr == "repaired: nothing was damaged\n"


def test_a_survey_of_a_card_alone_is_mended_wherever_its_card_lies(astrofm, store, radio_card_folder):
    file = damage(store)
    assert "test-field" not in plugins.surveys()
    mended = astrofm("store", "repair", store, "--source", radio_card_folder / "archive", "--json")
    assert json.loads(mended.stdout)["repaired"] == [file]


FORMS = {
    "mosaic": ({"table": "sources.csv"}, "*.fits*", "Jy/beam", "float32"),
    "arrays": ({"table": "sources.csv"}, "*.npz", "Jy/beam", "float32"),
    "pictures": ({}, "*.parquet", "8-bit", "uint8"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_store_of_any_form_of_archive_is_mended_with_the_card_it_carries(astrofm, tmp_path, write_card, form):
    section, pattern, unit, dtype = FORMS[form]
    product = {"pattern": pattern, "shape": [1, 16, 16], "unit": unit, "dtype": dtype}
    card = write_card(tmp_path / "card.yaml", folder=None, products={"any": product}, **{form: section})
    path, archive = tmp_path / "field.zarr", Survey.from_yaml(card).mock(6, 0, tmp_path / "archive")
    assert astrofm("ingest", "--survey", card, "--source", archive, "--out", path).code == 0
    card.unlink()
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    broken = [damage(path), "catalog.parquet"]
    (path / "catalog.parquet").write_bytes(b"")
    mended = astrofm("store", "repair", path, "--source", archive, "--json")
    assert sorted(json.loads(mended.stdout)["repaired"]) == sorted(broken)
    assert files == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("file", ["zarr.json", "image/zarr.json", "catalog.parquet", "rejected.parquet"])
def test_a_flipped_bit_in_any_file_but_the_manifest_is_mended(astrofm, store, radio_card_folder, file):
    whole = (store / file).read_bytes()
    at = len(whole) // 2 if file != "zarr.json" else whole.index(b"encoding-version")
    (store / file).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert f"{file} does not match its hash" in astrofm("store", "verify", store).stderr
    mended = astrofm("store", "repair", store, "--source", radio_card_folder / "archive")
    assert mended.stderr == f"repaired: {file}\n"
    assert (store / file).read_bytes() == whole


def test_verify_advises_a_repair_only_where_it_would_help(astrofm, store, radio_card_folder):
    (store / "notes.txt").write_text("mine")
    assert astrofm("store", "verify", store).stderr.splitlines()[1:] == ["every hash is right"]
    manifest = (store / "manifest.json").read_bytes()
    (store / "manifest.json").write_bytes(manifest[:-5])
    said = astrofm("store", "verify", store).stderr
    assert "nothing can be mended: ingest again with --overwrite" in said
    assert astrofm("store", "repair", store, "--source", radio_card_folder / "archive").code == 1


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_file_that_may_not_be_read_is_one_sentence(astrofm, store, monkeypatch, command):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    ended = astrofm("store", command, store)
    assert ended.code == 1
    assert "may not be read (permission denied): change its rights" in ended.sentence


def test_a_shard_that_may_not_be_read_is_one_sentence(astrofm, store, monkeypatch):
    opened = Path.open

    def guarded(path, *args, **kwargs):
        if "c" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    ended = astrofm("store", "report", store)
    assert ended.code == 1
    assert "may not be read (permission denied): change its rights" in ended.sentence


@pytest.mark.parametrize("command", ["report", "overlap"])
def test_a_result_that_cannot_be_written_is_one_sentence(astrofm, store, tmp_path, command):
    (tmp_path / "in_the_way").write_text("")
    out = tmp_path / "in_the_way" / "pairs.parquet"
    ended = astrofm("store", command, store, *([store] if command == "overlap" else []), "--out", out)
    assert ended.code == 1
    assert f"{out} cannot be written (" in ended.sentence


def test_a_store_is_written_in_folders_alone(astrofm, store, other_store, web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = astrofm("store", "merge", store, other_store, "--out", f"{web}/both.zarr")
    mended = astrofm("store", "repair", f"{web}/field.zarr", "--source", tmp_path)
    assert (made.code, mended.code) == (2, 2)
    assert "choose a folder" in made.sentence
    assert mended.sentence == (
        f"a store is mended in a folder and not at {web}/field.zarr: "
        "copy the damaged files there again from where the store was made"
    )
    assert not (tmp_path / "http:").exists()


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_no_store_is_one_sentence(astrofm, tmp_path, command, more):
    for path in (tmp_path / "none.zarr", tmp_path):
        ended = astrofm("store", command, path, *more)
        assert (ended.code, ended.stdout) == (1, "")
        assert "store" in ended.sentence
        assert str(path) in ended.sentence


@pytest.fixture
def web(tmp_path, store):
    """Address of the folder of ``store`` on a web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *said):
            """Nothing is to be read here."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def other_store(tmp_path, radio_card_folder, write_field):
    """Two sources that lie where s000 and s001 do, 1 arcsec off, under other names."""
    from astrofm.data.ingest import ingest
    from astrofm.survey import Survey

    archive = write_field(tmp_path / "archive", [10.0, 11.0], [-30.0 + 1 / 3600] * 2, ["train", "train"], scale=2.0)
    for file in list(archive.glob("*.fits")):
        file.rename(file.with_name(f"o{file.name}"))
    (archive / "table.csv").write_text((archive / "table.csv").read_text().replace("\ns0", "\nos0"))
    ingest(Survey.from_yaml(radio_card_folder / "card.yaml"), archive, tmp_path / "other.zarr")
    return tmp_path / "other.zarr"


def test_a_store_on_the_web_is_looked_at_and_verified_by_its_address(astrofm, store, web):
    info = json.loads(astrofm("store", "info", f"{web}/field.zarr", "--json").stdout)
    assert (info["store"], info["num_cutouts"]) == (f"{web}/field.zarr", 36)
    assert astrofm("store", "verify", f"{web}/field.zarr").stderr == "every hash is right\n"
    file = damage(store)
    ended = astrofm("store", "verify", f"{web}/field.zarr")
    assert ended.code == 1
    assert (
        ended.stderr
        == f"{file} does not match its hash\ncopy the damaged files there again from where the store was made\n"
    )
    gone = astrofm("store", "info", f"{web}/nothing.zarr")
    assert gone.code == 1
    assert gone.sentence.startswith(f"there is no store at {web}/nothing.zarr: check the address")


def test_a_run_takes_a_store_by_its_address(astrofm, web, store, radio_card_folder):
    import numpy as np

    from astrofm.data.loader import Feed, Loader
    from astrofm.stores import find_stores

    card = str(radio_card_folder / "card.yaml")
    far = find_stores([card], [f"{web}/field.zarr"])["test-field"]
    loader = Loader([Feed("test-field", far, np.arange(36))], 12, seed=0)
    near = Loader([Feed("test-field", find_stores([card], [store])["test-field"], np.arange(36))], 12, seed=0)
    for batch, expected in zip(loader, near, strict=True):
        np.testing.assert_array_equal(batch.shares[0].images, expected.shares[0].images)
    for command in (["pretrain"], ["transfer", "--labels", 10]):
        ended = astrofm(*command, "--survey", card, "--store", f"{web}/nothing.zarr")
        assert ended.sentence.startswith(f"there is no store at {web}/nothing.zarr: check the address")


def test_stores_are_merged_and_the_same_command_is_complete(astrofm, store, other_store, tmp_path):
    words = ("store", "merge", store, other_store, "--out", tmp_path / "both.zarr")
    merged = json.loads(astrofm(*words, "--json").stdout)
    assert (merged["num_cutouts"], merged["already_complete"]) == (38, False)
    assert astrofm("store", "verify", tmp_path / "both.zarr").code == 0
    assert astrofm(*words).stderr == "already complete\n"
    twice = astrofm("store", "merge", store, tmp_path / "both.zarr", "--out", tmp_path / "more.zarr")
    assert twice.code == 1
    assert "'s000' and 35 more ids are in two stores" in twice.sentence
    assert astrofm("store", "merge", store, "--out", tmp_path / "one.zarr").code == 2


def test_the_overlap_of_two_stores_is_counted_and_written(astrofm, store, other_store, tmp_path):
    words = ("store", "overlap", store, other_store)
    found = json.loads(astrofm(*words, "--radius", 2, "--json", "--out", tmp_path / "pairs.csv").stdout)
    assert (found["a"]["num_near_the_other"], found["b"]["num_near_the_other"], found["num_pairs"]) == (2, 2, 2)
    assert len((tmp_path / "pairs.csv").read_text().splitlines()) == 3
    shown = astrofm(*words)
    assert f"2 of 36 sources of {store} lie within 5 arcsec of one of {other_store}" in shown.stderr
    assert "s000" in shown.stdout
    assert astrofm(*words, "--radius", 0.5).stdout == ""
    assert astrofm(*words, "--radius", -1).code == 2
    assert astrofm("store", "overlap", store, tmp_path / "none.fits").sentence.startswith("no table at")


def test_a_report_is_one_page_beside_the_store(astrofm, store, tmp_path):
    ended = json.loads(astrofm("store", "report", store, "--json").stdout)
    assert ended["report"] == f"{store}.report.html"
    assert "36 of 36 catalogue rows" in (tmp_path / "field.zarr.report.html").read_text()
    said = astrofm("store", "report", store, "--out", tmp_path / "pages" / "mine.html").stderr
    assert said == f"written: {tmp_path / 'pages' / 'mine.html'}\n"
