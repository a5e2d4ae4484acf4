import hashlib
import json

import pytest
from pydantic import ValidationError

from astrofm.card import Archive
from astrofm.data.fetching.remote_files import remote_files
from astrofm.errors import FetchError, OfflineError

SHA = {letter: hashlib.sha256(letter.encode()).hexdigest() for letter in "ab"}
MD5 = {letter: hashlib.md5(letter.encode(), usedforsecurity=False).hexdigest() for letter in "ab"}
COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def record(web):
    """Record 77, as the API of Zenodo gives it."""
    listed = [
        {
            "id": f"0-{letter}",
            "key": f"{letter}.zip",
            "size": 1,
            "checksum": f"md5:{MD5[letter]}",
            "links": {"self": web.url(f"/api/records/77/files/{letter}.zip/content")},
        }
        for letter in "ba"
    ]
    web.files["/api/records/77"] = json.dumps({"id": 77, "doi": "10.5281/zenodo.77", "files": listed}).encode()
    return web


@pytest.fixture
def hub(web, monkeypatch):
    """The data set me/sky on two pages, as the API of the hub gives it."""
    monkeypatch.setenv("HF_ENDPOINT", web.base + "/")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    about = "/api/datasets/me/sky"
    web.files[f"{about}/revision/main"] = json.dumps({"id": "me/sky", "sha": COMMIT}).encode()
    first = [
        {"type": "directory", "oid": "1" * 40, "size": 0, "path": "data"},
        {"type": "file", "oid": "2" * 40, "size": 9, "path": "README.md"},
        {"type": "file", "oid": "3" * 40, "size": 1, "path": "data/b c.parquet", "lfs": lfs("b")},
    ]
    second = [{"type": "file", "oid": "4" * 40, "size": 1, "path": "data/a.parquet", "lfs": lfs("a")}]
    web.files[f"{about}/tree/{COMMIT}?recursive=true"] = json.dumps(first).encode()
    web.files[f"{about}/tree/{COMMIT}?recursive=true&cursor=x"] = json.dumps(second).encode()
    web.headers[f"{about}/tree/{COMMIT}?recursive=true"] = {
        "Link": f'<{web.url(f"{about}/tree/{COMMIT}?recursive=true&cursor=x")}>; rel="next"'
    }
    return web


def lfs(letter):
    return {"oid": SHA[letter], "size": 1, "pointerSize": 129}


def names(files):
    return [file.name for file in files]


@pytest.mark.parametrize(
    "url", ["doi:10.5281/zenodo.77", "https://doi.org/10.5281/zenodo.77", "http://dx.doi.org/10.5281/ZENODO.77"]
)
def test_a_doi_of_zenodo_leads_to_the_file_of_that_name(record, url):
    (file,) = remote_files(Archive(name="a.zip", url=url), zenodo=record.base)
    assert (file.name, file.size_bytes, file.md5, file.sha256) == ("a.zip", 1, MD5["a"], "")
    assert file.url == record.url("/api/records/77/files/a.zip/content")
    assert file.has_hash


def test_a_pattern_after_the_doi_takes_several_files(record):
    archive = Archive(name="all of it", url="doi:10.5281/zenodo.77/*.zip")
    assert names(remote_files(archive, zenodo=record.base)) == ["a.zip", "b.zip"]
    archive = Archive(name="one", url="https://doi.org/10.5281/zenodo.77/b.zip")
    assert names(remote_files(archive, zenodo=record.base)) == ["b.zip"]


def test_a_file_that_the_record_does_not_have_is_told_with_those_it_has(record):
    with pytest.raises(FetchError, match=r"record 77 of Zenodo has no file 'c\.zip'; it has a\.zip, b\.zip"):
        remote_files(Archive(name="c.zip", url="doi:10.5281/zenodo.77"), zenodo=record.base)


def test_a_record_that_is_missing_closed_or_odd_is_one_sentence(record):
    with pytest.raises(FetchError, match=r"Zenodo has no record 78, which archive 'a\.zip' asks for"):
        remote_files(Archive(name="a.zip", url="doi:10.5281/zenodo.78"), zenodo=record.base)
    record.files["/api/records/79"] = b'{"files": []}'
    with pytest.raises(FetchError, match="it has none that are open to all"):
        remote_files(Archive(name="a.zip", url="doi:10.5281/zenodo.79"), zenodo=record.base)
    record.files["/api/records/80"] = b'{"title": "no files"}'
    with pytest.raises(FetchError, match=r"api/records/80 answered in an unexpected way: files"):
        remote_files(Archive(name="a.zip", url="doi:10.5281/zenodo.80"), zenodo=record.base)
    record.files["/api/records/81"] = b"<html>"
    with pytest.raises(FetchError, match="answered with something other than JSON"):
        remote_files(Archive(name="a.zip", url="doi:10.5281/zenodo.81"), zenodo=record.base)


def test_an_api_that_fails_for_a_moment_is_asked_again(record, waits):
    record.fail("/api/records/77", 503, times=2)
    record.cut("/api/records/77", 10)
    assert names(remote_files(Archive(name="a.zip", url="doi:10.5281/zenodo.77"), zenodo=record.base)) == ["a.zip"]
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("key", ["../a.zip", "/a.zip", "x/../../a.zip"])
def test_a_name_that_leads_out_of_the_folder_is_refused(record, key):
    listed = json.loads(record.files["/api/records/77"])
    listed["files"][0]["key"] = key
    record.files["/api/records/77"] = json.dumps(listed).encode()
    with pytest.raises(FetchError, match="leads out of the folder"):
        remote_files(Archive(name="all", url="doi:10.5281/zenodo.77/*"), zenodo=record.base)


def test_what_the_card_knows_is_added_and_must_agree(record):
    url = "doi:10.5281/zenodo.77"
    (file,) = remote_files(Archive(name="a.zip", url=url, sha256=SHA["a"], md5=MD5["a"]), zenodo=record.base)
    assert (file.sha256, file.md5, file.size_bytes) == (SHA["a"], MD5["a"], 1)
    with pytest.raises(FetchError, match="has the size_bytes 1, and the card says 2"):
        remote_files(Archive(name="a.zip", url=url, size_bytes=2), zenodo=record.base)
    with pytest.raises(FetchError, match=f"has the md5 {MD5['a']}, and the card says {MD5['b']}"):
        remote_files(Archive(name="a.zip", url=url, md5=MD5["b"]), zenodo=record.base)
    with pytest.raises(FetchError, match=r"has 2 files at .*, and its card gives sha256 as for one"):
        remote_files(Archive(name="all", url=f"{url}/*", sha256=SHA["a"]), zenodo=record.base)


def test_a_doi_of_elsewhere_is_told_from_one_of_zenodo(web):
    with pytest.raises(FetchError, match="is no DOI of Zenodo"):
        remote_files(Archive(name="x", url="https://doi.org/10.48479/emmd-kf31"), zenodo=web.base)
    assert web.asked == []


def test_a_plain_address_is_the_file_itself(web):
    (file,) = remote_files(Archive(name="a.fits", url="https://sky.example/get?id=3", size_bytes=5))
    assert (file.name, file.url, file.size_bytes, file.has_hash) == ("a.fits", "https://sky.example/get?id=3", 5, False)


def test_a_data_set_of_the_hub_is_listed_over_all_pages_at_one_commit(hub):
    files = remote_files(Archive(name="images", url="hf://datasets/me/sky/data/*.parquet"))
    assert [(file.name, file.size_bytes, file.sha256) for file in files] == [
        ("data/a.parquet", 1, SHA["a"]),
        ("data/b c.parquet", 1, SHA["b"]),
    ]
    assert files[1].url == hub.url(f"/datasets/me/sky/resolve/{COMMIT}/data/b%20c.parquet")
    assert {asked.headers.get("Authorization") for asked in hub.asked} == {None}


def test_small_files_of_the_hub_have_no_hash_and_a_revision_may_be_named(hub):
    hub.files["/api/datasets/me/sky/revision/refs%2Fconvert%2Fparquet"] = json.dumps({"sha": COMMIT}).encode()
    url = "hf://datasets/me/sky@refs%2Fconvert%2Fparquet/README.md"
    (file,) = remote_files(Archive(name="text", url=url))
    assert (file.name, file.size_bytes, file.has_hash) == ("README.md", 9, False)


def test_the_token_goes_to_the_hub_and_never_to_another_host(hub, start_web, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    other = start_web()
    page = f"/api/datasets/me/sky/tree/{COMMIT}?recursive=true"
    other.files["/more"] = b"[]"
    hub.headers[page] = {"Link": f'<{other.url("/more")}>; rel="next"'}
    (file,) = remote_files(Archive(name="images", url="hf://datasets/me/sky/data/*.parquet"))
    assert {asked.headers.get("Authorization") for asked in hub.asked} == {"Bearer hf_secret"}
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]
    assert file.headers == {"Authorization": "Bearer hf_secret"}
    assert "hf_secret" not in repr(file)


@pytest.mark.parametrize("status", [401, 403])
def test_a_data_set_on_conditions_says_where_to_accept_them(hub, status):
    hub.fail("/api/datasets/me/sky/revision/main", status, X_Error_Code="GatedRepo")
    with pytest.raises(FetchError) as caught:
        remote_files(Archive(name="images", url="hf://datasets/me/sky/data/*.parquet"))
    said = str(caught.value)
    assert f"accept its conditions on {hub.url('/datasets/me/sky')}" in said
    assert "HF_TOKEN" in said


def test_a_data_set_or_file_that_is_not_there_is_one_sentence(hub):
    with pytest.raises(FetchError, match="there is no data set me/nothing with revision 'main'"):
        remote_files(Archive(name="images", url="hf://datasets/me/nothing/*"))
    with pytest.raises(FetchError, match=r"data set me/sky has no file '\*\.fits' at"):
        remote_files(Archive(name="images", url="hf://datasets/me/sky/*.fits"))


def test_without_network_the_host_is_named(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    with pytest.raises(OfflineError, match=r"hub\.invalid cannot be reached"):
        remote_files(Archive(name="images", url="hf://datasets/me/sky/*"))


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/hosts", "/a/b", "hf://me/sky", "doi:11.1/x", "https://a b"])
def test_an_address_of_another_kind_is_refused_when_the_card_is_read(url):
    with pytest.raises(ValidationError):
        Archive(name="x", url=url)
