import errno
import gzip
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrofm.data.fetching import download as module
from astrofm.data.fetching import part as part_module
from astrofm.data.fetching.download import WrongFileError, download
from astrofm.data.fetching.web import NUM_TRIES, shown
from astrofm.errors import FetchError, OfflineError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
KNOWN = {"size_bytes": len(CONTENT), "sha256": SHA256, "md5": MD5}

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def url(web):
    web.files["/a.tar"] = CONTENT
    return web.url("/a.tar")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "here" / "a.tar"


def beside(target):
    return sorted(path.name for path in target.parent.iterdir())


def ranges(web):
    return [asked.headers.get("Range") for asked in web.asked]


@pytest.mark.parametrize("known", [{}, KNOWN, {"sha256": SHA256.upper()}, {"md5": MD5}, {"size_bytes": len(CONTENT)}])
def test_a_file_comes_whole_and_nothing_else_is_left(web, url, target, known):
    told = []
    done = download(url, target, listener=lambda *said: told.append(said), **known)
    assert target.read_bytes() == CONTENT
    assert (done.size_bytes, done.sha256, done.num_transferred) == (len(CONTENT), SHA256, len(CONTENT))
    assert beside(target) == ["a.tar"]
    assert told[-1] == (len(CONTENT), len(CONTENT), "a.tar")
    assert re.fullmatch(r"astrofm/[\d.]+\S*", web.asked[0].headers["User-Agent"])


def test_what_is_there_and_right_is_not_asked_for_again(web, url, target):
    download(url, target)
    done = download(url, target, **KNOWN)
    assert (done.sha256, done.num_transferred, len(web.asked)) == (SHA256, 0, 1)


def test_what_is_there_and_wrong_is_replaced(url, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"x")
    download(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_an_empty_file_is_a_file(web, target):
    web.files["/empty"] = b""
    assert download(web.url("/empty"), target).size_bytes == 0
    assert beside(target) == ["a.tar"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(CONTENT)), min_size=1, max_size=NUM_TRIES - 1))
def test_wherever_the_connection_is_cut_every_byte_comes_once(web, url, tmp_path_factory, cuts):
    web.sent.clear()
    for cut in cuts:
        web.cut("/a.tar", cut)
    target = tmp_path_factory.mktemp("cut") / "a.tar"
    download(url, target, sha256=SHA256)
    web.instead.clear()
    assert target.read_bytes() == CONTENT
    assert sum(web.sent) == len(CONTENT)


def test_a_server_that_always_cuts_is_left_after_several_tries_and_the_rest_comes_later(web, url, target, waits):
    web.cut("/a.tar", 0)
    web.cut("/a.tar", 100_000)
    web.cut("/a.tar", 0, times=100)
    with pytest.raises(
        FetchError, match=r"cut after 100000 of 300000 bytes, 6 times in a row; what has arrived is kept"
    ):
        download(url, target, **KNOWN)
    assert waits == [1, 1, 2, 4, 8, 16]  # progress makes it patient anew
    assert beside(target) == ["a.tar.part", "a.tar.part.json"]
    web.instead.clear()
    web.sent.clear()
    assert download(url, target, **KNOWN).num_transferred == 200_000
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(web, url, target):
    web.has_ranges = False
    web.cut("/a.tar", 100_000)
    download(url, target, **KNOWN)
    assert target.read_bytes() == CONTENT
    assert web.sent == [100_000, 300_000]


def test_a_file_without_a_mark_of_its_version_is_not_pieced_together(web, url, target):
    web.has_etags = False
    web.cut("/a.tar", 100_000)
    download(url, target, **KNOWN)
    assert ranges(web) == [None, None]
    assert target.read_bytes() == CONTENT


def test_a_file_that_was_changed_meanwhile_comes_anew(web, url, target):
    other = CONTENT[::-1]
    web.cut("/a.tar", 100_000, times=1)
    web.fail("/a.tar", 404)
    with pytest.raises(FetchError, match="there is no"):
        download(url, target)
    web.files["/a.tar"] = other
    download(url, target)
    assert ranges(web)[-1] == "bytes=100000-"
    assert target.read_bytes() == other


def test_a_server_that_forgets_to_compare_the_version_is_found_out(web, url, target):
    web.cut("/a.tar", 100_000)
    place = "bytes 100000-299999/300000"
    wrong = CONTENT[::-1][100_000:]
    answer = type(web.instead["/a.tar"][0])
    web.instead["/a.tar"].append(answer(wrong, 206, {"ETag": '"other"', "Content-Range": place}))
    web.files["/a.tar"] = CONTENT[::-1]
    download(url, target)
    assert target.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("place", ["bytes 99999-299999/300000", "bytes 100000-299999/300001", "nonsense", ""])
def test_a_part_that_does_not_go_on_where_the_last_ended_is_thrown_away(web, url, target, place):
    web.cut("/a.tar", 100_000)
    answer = type(web.instead["/a.tar"][0])
    web.instead["/a.tar"].append(answer(CONTENT[99_999:], 206, {"Content-Range": place}))
    download(url, target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_became_shorter_than_the_part_comes_anew(web, url, target):
    web.cut("/a.tar", 100_000)
    web.fail("/a.tar", 416)
    web.files["/a.tar"] = CONTENT
    download(url, target)
    assert target.read_bytes() == CONTENT
    assert ranges(web) == [None, "bytes=100000-", None]


def test_the_part_of_another_address_is_not_gone_on_with(web, url, target):
    web.cut("/a.tar", 100_000, times=1)
    web.fail("/a.tar", 404)
    with pytest.raises(FetchError):
        download(url, target)
    web.files["/b.tar"] = CONTENT[::-1]
    web.headers["/b.tar"] = {"ETag": f'"{MD5}"'}  # a server that gives every file one mark
    download(web.url("/b.tar"), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_part_that_nobody_knows_the_origin_of_is_not_used(url, target):
    target.parent.mkdir()
    target.with_name("a.tar.part").write_bytes(b"x" * 1000)
    download(url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"sha256": "0" * 64}, f"has the sha256 {SHA256}, and {'0' * 64} was expected"),
        ({"md5": "0" * 32}, f"has the md5 {MD5}, and {'0' * 32} was expected"),
    ],
)
def test_wrong_bytes_are_never_used_and_both_hashes_are_said(url, target, known, said):
    with pytest.raises(WrongFileError) as caught:
        download(url, target, **known)
    assert str(caught.value) == f"{url} {said}; it was removed"
    assert beside(target) == []


def test_a_part_with_a_flipped_byte_is_found_out_at_the_end(web, url, target):
    web.cut("/a.tar", 100_000)
    web.fail("/a.tar", 404)
    with pytest.raises(FetchError):
        download(url, target, **KNOWN)
    part = target.with_name("a.tar.part")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(WrongFileError, match="has the sha256"):
        download(url, target, **KNOWN)
    assert beside(target) == []


def test_a_size_other_than_that_on_the_card_is_refused_before_a_byte_is_kept(url, target):
    with pytest.raises(FetchError, match=r"has 300000 bytes on the server, and 299999 were expected"):
        download(url, target, size_bytes=299_999)
    assert beside(target) == []


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}])
def test_a_server_that_sends_less_than_it_promises_is_not_believed(web, url, target, known):
    answer = type(web.answer("/none", {}))
    web.instead["/a.tar"] = [answer(CONTENT, length=400_000) for _ in range(100)]
    with pytest.raises(FetchError, match="cut after 300000 of 400000 bytes, 6 times in a row"):
        download(url, target, **known)
    assert not target.exists()


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, "is longer than the 200000 bytes that were promised"),
        ({"sha256": SHA256}, "has the sha256"),
        ({"size_bytes": 300_000}, "has 200000 bytes on the server, and 300000 were expected"),
        ({"size_bytes": 200_000, "sha256": SHA256}, "has the sha256"),
    ],
)
def test_a_server_that_sends_more_than_it_promises_is_not_believed(web, url, target, known, said):
    answer = type(web.answer("/none", {}))
    web.instead["/a.tar"] = [answer(CONTENT, length=200_000)]
    with pytest.raises(FetchError, match=said):
        download(url, target, **known)
    assert beside(target) == []


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_a_server_that_fails_for_a_moment_is_asked_again(web, url, target, waits, status):
    web.fail("/a.tar", status, times=3)
    download(url, target, **KNOWN)
    assert target.read_bytes() == CONTENT
    assert waits == [1, 2, 4]


def test_a_server_that_says_how_long_to_wait_is_obeyed(web, url, target, waits):
    web.fail("/a.tar", 429, Retry_After="7")
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    web.fail("/a.tar", 503, Retry_After=soon)
    download(url, target)
    assert waits[0] == 7
    assert 50 < waits[1] <= 60


def test_a_server_that_asks_to_come_back_tomorrow_is_left(web, url, target):
    web.fail("/a.tar", 429, Retry_After="86400")
    with pytest.raises(FetchError, match="asks to wait 86400 s"):
        download(url, target)


@pytest.mark.parametrize(
    ("status", "said"), [(404, "there is no http"), (410, "there is no http"), (403, "was refused: HTTP 403")]
)
def test_a_no_is_a_no_at_once(web, url, target, waits, status, said):
    web.fail("/a.tar", status)
    with pytest.raises(FetchError, match=said):
        download(url, target)
    assert (len(web.asked), waits) == (1, [])


def test_a_web_page_is_not_taken_for_the_file(web, url, target):
    web.headers["/a.tar"] = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(FetchError, match=r"answered with a web page, not with a\.tar"):
        download(url, target)


def test_a_file_that_is_packed_on_the_way_is_refused_but_a_gz_is_what_it_says(web, tmp_path):
    packed = gzip.compress(b"1,2,3\n", mtime=0)
    for name in ("/t.csv", "/t.csv.gz"):
        web.files[name] = packed
        web.headers[name] = {"Content-Encoding": "gzip"}
    with pytest.raises(FetchError, match=r"is sent packed \(gzip\)"):
        download(web.url("/t.csv"), tmp_path / "t.csv")
    download(web.url("/t.csv.gz"), tmp_path / "t.csv.gz")
    assert (tmp_path / "t.csv.gz").read_bytes() == packed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_also_in_the_middle_of_a_file(web, start_web, url, target, status):
    other = start_web()
    other.files["/there"] = CONTENT
    other.cut("/there", 100_000)
    web.redirect("/a.tar", other.url("/there"), status, times=2)
    download(url, target, headers={"Authorization": "Bearer secret"}, **KNOWN)
    assert target.read_bytes() == CONTENT
    assert other.sent == [100_000, 200_000]


def test_what_is_meant_for_one_host_is_not_told_to_another(web, start_web, target):
    other = start_web()
    other.files["/there"] = CONTENT
    web.redirect("/a", web.url("/b"))
    web.redirect("/b", other.url("/there"))
    download(web.url("/a"), target, headers={"Authorization": "Bearer secret"})
    assert [asked.headers.get("Authorization") for asked in web.asked] == ["Bearer secret"] * 2
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]


def test_redirects_in_a_circle_and_to_files_of_this_machine_are_refused(web, target, tmp_path):
    web.redirect("/a", web.url("/b"), times=20)
    web.redirect("/b", web.url("/a"), times=20)
    with pytest.raises(FetchError, match="redirected in a circle"):
        download(web.url("/a"), target)
    (tmp_path / "secret").write_text("x")
    for there in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/x"):
        web.redirect("/c", there)
        with pytest.raises(FetchError, match=f"leads to {there}, which is no http or https address"):
            download(web.url("/c"), target)
    assert not target.exists()


def test_neither_password_nor_token_is_in_a_message_or_on_the_disk(web, target):
    web.files["/a"] = CONTENT
    secret = f"{web.url('/a').replace('//', '//me:s3cret@')}?token=t0ken"
    assert shown(secret) == web.url("/a")
    web.cut("/a?token=t0ken", 1000)
    web.files["/a?token=t0ken"] = CONTENT
    web.instead["/a?token=t0ken"].append(type(web.instead["/a?token=t0ken"][0])(b"no", 403))
    with pytest.raises(FetchError) as caught:
        download(secret, target)
    assert web.asked[0].headers["Authorization"].startswith("Basic ")
    kept = target.with_name("a.tar.part.json").read_text()
    assert not [word for word in ("s3cret", "t0ken") if word in str(caught.value) + kept]


def test_a_proxy_of_the_environment_is_used(web, target, monkeypatch):
    web.files["http://archive.example/a"] = CONTENT
    monkeypatch.setenv("http_proxy", web.base)
    monkeypatch.setenv("no_proxy", "")
    download("http://archive.example/a", target, **KNOWN)
    assert web.asked[0].path == "http://archive.example/a"
    assert target.read_bytes() == CONTENT


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_without_network_it_ends_at_once_and_says_so(target, monkeypatch, waits, web):
    with pytest.raises(OfflineError, match=r"127\.0\.0\.1 cannot be reached \(Connection refused\)"):
        download(f"http://127.0.0.1:{free_port()}/a", target)
    with pytest.raises(OfflineError, match=r"archive\.invalid cannot be reached"):
        download("https://archive.invalid/a", target)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(OfflineError, match=r"archive\.example cannot be reached"):
        download("https://archive.example/a", target)
    monkeypatch.setenv("https_proxy", web.base)  # answers CONNECT with 501
    with pytest.raises(OfflineError, match=r"Tunnel connection failed: 501"):
        download("https://archive.example/a", target)
    assert waits == []


def test_a_network_that_goes_in_the_middle_is_waited_for(web, url, target, waits, monkeypatch):
    web.cut("/a.tar", 100_000)
    real, gone = module.open_url, [OfflineError("archive.example cannot be reached")] * 2

    def open_url(*given):
        if web.asked and gone:
            raise gone.pop()
        return real(*given)

    monkeypatch.setattr(module, "open_url", open_url)
    download(url, target, **KNOWN)
    assert target.read_bytes() == CONTENT
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("address", ["file:///etc/hosts", "ftp://host/a", "https:///a", "a.tar"])
def test_only_http_is_spoken(target, address):
    with pytest.raises(FetchError, match="is no http or https address"):
        download(address, target)


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(web, url, target, monkeypatch):
    append, num = part_module.Part.append, []

    def full(self, file, chunk):
        num.append(len(chunk))
        if len(num) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, file, chunk[:50_000])

    monkeypatch.setattr(part_module.Part, "append", full)
    web.block_bytes, web.pause_seconds = 50_000, 0.02
    with pytest.raises(FetchError, match=r"no space left on the disk of .*, which goes on where this one stopped"):
        download(url, target, **KNOWN)
    monkeypatch.setattr(part_module.Part, "append", append)
    kept = target.with_name("a.tar.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert download(url, target, **KNOWN).num_transferred == len(CONTENT) - kept


def test_a_disk_that_is_too_small_is_said_before_a_byte_comes(url, target, monkeypatch):
    free = module.shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(FetchError, match=r"a\.tar needs 0\.00 GB more, and the disk of .* has 0\.00 GB free"):
        download(url, target)


def test_a_folder_that_may_not_be_written_is_one_sentence(url, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FetchError, match="cannot be written"):
        download(url, tmp_path / "file" / "a.tar")


def test_two_at_once_fetch_the_file_once(web, url, target):
    web.block_bytes, web.pause_seconds = 30_000, 0.02
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(download, url, target) for _ in range(4)]
        moved = sorted(job.result().num_transferred for job in jobs)
    assert moved == [0, 0, 0, len(CONTENT)]
    assert beside(target) == ["a.tar"]


def test_who_is_asked_to_stop_leaves_the_part(web, url, target):
    web.block_bytes, web.pause_seconds = 30_000, 0.02
    stop = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        download(url, target, listener=lambda *said: stop.set(), stop=stop)
    kept = target.with_name("a.tar.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert download(url, target, **KNOWN).num_transferred == len(CONTENT) - kept


PROGRAM = """
import sys
from pathlib import Path
from astrofm.data.fetching.download import download
download(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_in_the_middle_only_the_rest_comes(web, url, target, signum):
    web.block_bytes, web.pause_seconds = 10_000, 0.05
    part = target.with_name("a.tar.part")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(target)], stderr=subprocess.DEVNULL) as process:
        ends = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size >= 50_000) and time.monotonic() < ends:
            time.sleep(0.01)
        process.send_signal(signum)
        assert process.wait() != 0
    kept = part.stat().st_size
    assert 50_000 <= kept < len(CONTENT)
    assert json.loads(target.with_name("a.tar.part.json").read_text())["size_bytes"] == len(CONTENT)
    web.pause_seconds = 0
    done = download(url, target, **KNOWN)
    assert len(web.sent) == 2
    assert done.num_transferred == web.sent[1] == len(CONTENT) - kept
    assert target.read_bytes() == CONTENT
    assert beside(target) == ["a.tar"]


def test_all_bytes_and_a_kill_before_the_last_step_need_no_request(web, url, target, monkeypatch):
    monkeypatch.setattr(part_module.Part, "become", lambda self, target: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        download(url, target)
    monkeypatch.undo()
    done = download(url, target)
    assert (done.num_transferred, len(web.asked)) == (0, 1)
    assert target.read_bytes() == CONTENT
