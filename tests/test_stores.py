import io
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from astrofm import stores
from astrofm.data.store import CutoutStore
from astrofm.errors import StoreError, UsageError
from astrofm.home import home, store_path
from astrofm.stores import find_stores, mock_store
from astrofm.survey import Survey


@pytest.fixture
def card(radio_card_folder):
    return str(radio_card_folder / "card.yaml")


def test_a_named_store_serves_the_survey_of_its_manifest(card, radio_store):
    found = find_stores([card], [radio_store])
    assert list(found) == ["test-field"]
    assert found["test-field"].path == radio_store


def test_a_store_that_serves_nobody_is_refused(card, radio_store, tmp_path, write_card):
    other = str(write_card(tmp_path / "other.yaml", name="other"))
    expected = "names a store of test-field, and the run asks for other: name it with --survey test-field, or leave"
    for mock in (8, None):  # before the store that is missing is spoken of, or made
        with pytest.raises(UsageError, match=expected):
            find_stores([other], [radio_store], mock=mock)


def test_two_stores_of_one_survey_are_refused(card, radio_store):
    with pytest.raises(UsageError, match="two stores were given for 'test-field'"):
        find_stores([card], [radio_store, radio_store])


def test_without_a_store_the_error_names_the_three_ways_on(card):
    with pytest.raises(StoreError) as caught:
        find_stores([card])
    for way in ("--source", "--store", "--mock", str(store_path("test-field"))):
        assert way in str(caught.value)


def test_the_size_of_the_archive_is_said_where_it_is_known(tmp_path, write_card):
    archive = [{"name": "a.tar", "size_bytes": 1_500_000_000}, {"name": "b.tar", "size_bytes": 500_000_000}]
    card = write_card(tmp_path / "big.yaml", name="big", archive=archive)
    with pytest.raises(StoreError, match=r"\(archive: 2\.0 GB\)"):
        find_stores([str(card)])


def test_the_store_at_home_serves_without_being_named(card, radio_store):
    place = store_path("test-field")
    place.parent.mkdir(parents=True)
    place.symlink_to(radio_store)
    assert find_stores([card])["test-field"].path == place


def test_a_half_written_store_at_home_is_not_taken_for_a_missing_archive(card):
    partial = store_path("test-field").with_name("test-field.zarr.partial")
    (partial / "store").mkdir(parents=True)
    with pytest.raises(StoreError, match="is unfinished: give the same ingest command again"):
        find_stores([card])


@pytest.fixture
def archive_on_web(web, radio_card_folder):
    """The archive of ``test-field`` as a tar file on a server; its entry on a card."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(radio_card_folder / "archive", "field")
    web.files["/field.tar.gz"] = packed.getvalue()
    size = len(packed.getvalue())
    return {"name": "field.tar.gz", "url": web.url("/field.tar.gz"), "unpack": True, "size_bytes": size}


def test_without_a_store_the_archive_is_fetched_and_ingested_once(archive_on_web, web, tmp_path, write_card):
    card = str(write_card(tmp_path / "card.yaml", archive=[archive_on_web]))
    said = []
    found = find_stores([card], say=said.append)["test-field"]
    assert found.path == store_path("test-field")
    assert len(found) == 36
    assert not found.is_mock
    assert "fetching its archive and ingesting it" in said[0]
    assert re.search(r"fetching 1 file, \d+\.\d MB, from 127\.0\.0\.1 to ", said[1])
    assert find_stores([card], say=said.append)["test-field"].content_hash == found.content_hash
    assert (len(web.asked), len(said)) == (1, 4)


def test_nothing_is_fetched_if_another_survey_has_no_way_to_a_store(archive_on_web, web, tmp_path, write_card):
    first = str(write_card(tmp_path / "first.yaml", archive=[archive_on_web]))
    by_hand = [{"name": "cutouts", "note": "ask the authors"}]
    second = str(write_card(tmp_path / "second.yaml", name="second", archive=by_hand))
    with pytest.raises(StoreError, match=r"no store of 'second' .*'astrofm survey info second' says how to get it"):
        find_stores([first, second])
    assert web.asked == []


def test_offline_the_error_names_the_three_ways_on(archive_on_web, tmp_path, write_card, waits):
    gone = {**archive_on_web, "url": "https://archive.invalid/field.tar.gz"}
    card = str(write_card(tmp_path / "card.yaml", archive=[gone]))
    with pytest.raises(StoreError) as caught:
        find_stores([card])
    for way in ("archive.invalid cannot be reached", "--source", "--store", "--mock", str(store_path("test-field"))):
        assert way in str(caught.value)
    assert waits == []


def test_an_archive_with_a_wrong_hash_makes_no_store(archive_on_web, tmp_path, write_card):
    card = str(write_card(tmp_path / "card.yaml", archive=[{**archive_on_web, "sha256": "0" * 64}]))
    with pytest.raises(StoreError, match=r"has the sha256 .* was expected"):
        find_stores([card])
    assert not store_path("test-field").exists()


def test_named_stores_come_before_mock_ones(card, radio_store):
    assert not find_stores([card], [radio_store], mock=8)["test-field"].is_mock


def test_a_mock_store_says_so_and_is_made_once(card, monkeypatch):
    made = []
    ingest = stores.ingest
    monkeypatch.setattr(stores, "ingest", lambda *given, **more: made.append(given) or ingest(*given, **more))
    first = find_stores([card], mock=10)["test-field"]
    again = find_stores([card], mock=10)["test-field"]
    assert first.is_mock
    assert len(first) == 10
    assert first.path == again.path
    assert len(made) == 1
    assert sorted(path.name for path in (home() / "mock").iterdir()) == [first.path.name]


def test_runs_that_ask_for_one_mock_store_at_once_all_get_it(card, monkeypatch):
    made = []
    ingest = stores.ingest
    monkeypatch.setattr(stores, "ingest", lambda *given, **more: made.append(given) or ingest(*given, **more))
    survey = Survey.from_yaml(Path(card))
    with ThreadPoolExecutor(3) as pool:
        kept = [job.result() for job in [pool.submit(mock_store, survey, 12) for _ in range(3)]]
    assert len({store.content_hash for store in kept}) == 1
    assert len(made) == 1
    assert [path.name for path in (home() / "mock").iterdir()] == [kept[0].path.name]


def test_number_and_seed_of_a_mock_store_are_kept_apart(card):
    survey = Survey.from_yaml(Path(card))
    kept = [mock_store(survey, 8), mock_store(survey, 9), mock_store(survey, 8, seed=1)]
    assert len({store.path for store in kept}) == 3
    assert len({store.content_hash for store in kept}) == 3


def test_a_mock_store_is_made_again_when_the_card_changed(tmp_path, write_card):
    path = write_card(tmp_path / "card.yaml")
    before = mock_store(Survey.from_yaml(path), 8)
    write_card(path, hard="The beam, which was forgotten at first.")
    after = mock_store(Survey.from_yaml(path), 8)
    assert after.path == before.path
    assert CutoutStore.open(after.path).card.hard.startswith("The beam")


def test_a_card_that_changed_since_its_store_was_made_is_told(radio_store, tmp_path, write_card):
    tasks = [{"name": "blobs", "title": "Two or one", "column": "label", "classes": {"two": [1], "one": [0]}}]
    changed = str(write_card(tmp_path / "card.yaml", tasks=tasks, hard="Other words of no consequence."))
    with pytest.warns(
        UserWarning, match=r"'test-field' has changed in tasks since its store at .* --overwrite"
    ) as told:
        found = find_stores([changed], [radio_store])
    assert len(told) == 1
    assert list(found) == ["test-field"]


def test_words_on_a_card_may_change_in_silence(radio_store, tmp_path, write_card, recwarn):
    changed = str(write_card(tmp_path / "card.yaml", hard="Other words, which no run reads."))
    find_stores([changed], [radio_store])
    assert not list(recwarn)
