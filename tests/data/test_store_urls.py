"""A store behind a URL, on a real HTTP server and a real S3 one, reads like the folder it lies in."""

from __future__ import annotations

import pickle
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore, store_info, verify
from astrofm.data.store_files import open_array
from astrofm.errors import StoreError

pytestmark = pytest.mark.usefixtures("small_pieces")


@dataclass
class Served:
    """A folder on a web server, and what was asked of it."""

    url: str
    answers: dict[str, int] = field(default_factory=dict)
    """Status to answer instead, by the end of the path."""
    has_ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request, with its range."""

    def num_requests(self, path: str = "") -> int:
        return sum(path in asked for _, asked in self.asked)


def serve(folder: Path) -> tuple[ThreadingHTTPServer, Served]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            file, wanted = folder / self.path.lstrip("/"), self.headers.get("Range", "")
            served.asked.append((self.command, f"{self.path} {wanted}".strip()))
            status = next((s for end, s in served.answers.items() if self.path.endswith(end)), None)
            if status is not None or not file.is_file():
                self.answer(status or 404, b"no")
                return
            content = file.read_bytes()
            if not (wanted and served.has_ranges):
                self.answer(200, content)
                return
            first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted).groups()
            start = int(first) if first else len(content) - int(last)
            stop = int(last) + 1 if first and last else len(content)
            self.answer(206, content[start:stop])

        def answer(self, status, content):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *said):
            """The list of requests is enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server, served


@pytest.fixture
def near(survey, archive, tmp_path) -> CutoutStore:
    """39 cutouts in 10 chunks of 4 and 5 shards of 8."""
    ingest(survey, archive, tmp_path / "web" / "tiny.zarr")
    return CutoutStore.open(tmp_path / "web" / "tiny.zarr")


@pytest.fixture
def web(near) -> Iterator[Served]:
    server, served = serve(near.path.parent)
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Return ``upload(folder)``, which puts a folder into a bucket and returns its URL."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {"AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()

    def upload(folder: Path) -> str:
        system.mkdir("surveys")
        system.put(str(folder), f"surveys/{folder.name}", recursive=True)
        return f"s3://surveys/{folder.name}"

    yield upload
    system.rm("surveys", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_everything_a_store_gives_is_the_same_over_http(near, web):
    far = CutoutStore.open(f"{web.url}/tiny.zarr/")
    rows = [30, 2, 2, 17]
    np.testing.assert_array_equal(far.read(rows), near.read(rows))
    np.testing.assert_array_equal(far.read(slice(None)), near.read(slice(None)))
    np.testing.assert_array_equal(far.stretched(rows, "clipped"), near.stretched(rows, "clipped"))
    assert far.catalog.table.equals(near.catalog.table)
    assert far.content_hash == near.content_hash
    assert far.read_mask(rows) is None
    assert store_info(f"{web.url}/tiny.zarr") == store_info(near.path) | {"store": f"{web.url}/tiny.zarr"}


def test_opening_takes_two_requests_and_a_row_its_index_and_its_chunk(near, web):
    far = CutoutStore.open(f"{web.url}/tiny.zarr")
    assert len(web.asked) == 2
    web.asked.clear()
    far.read([9])
    assert web.num_requests("image/zarr.json") == 1
    (index, chunk) = (asked for _, asked in web.asked if "/c/" in asked)
    assert re.fullmatch(r"/tiny.zarr/image/c/1/0/0/0 bytes=-36", index)  # two chunks of 16 bytes, and a checksum
    first, last = map(int, re.search(r"bytes=(\d+)-(\d+)", chunk).groups())
    assert last - first < (near.path / "image/c/1/0/0/0").stat().st_size / 1.5
    assert {method for method, _ in web.asked} == {"GET"}


def test_further_chunks_of_a_shard_take_one_request_each(web):
    far = CutoutStore.open(f"{web.url}/tiny.zarr")
    far.read([9])
    web.asked.clear()
    far.read([13])
    far.read([10, 8])
    assert len(web.asked) == 2
    web.asked.clear()
    far.read(slice(16, 24))
    assert [asked for _, asked in web.asked] == ["/tiny.zarr/image/c/2/0/0/0"]


def test_a_store_is_verified_over_http_with_one_request_a_file(near, web):
    assert verify(f"{web.url}/tiny.zarr") == []
    assert len(web.asked) == 1 + len(near.manifest.pieces)
    damaged = bytearray((near.path / "image/c/3/0/0/0").read_bytes())
    damaged[100] ^= 1
    (near.path / "image/c/3/0/0/0").write_bytes(damaged)
    (near.path / "rejected.parquet").unlink()
    assert [damage.file for damage in verify(f"{web.url}/tiny.zarr")] == ["rejected.parquet", "image/c/3/0/0/0"]


def test_a_store_sent_to_another_process_reads_on(near, web):
    far = CutoutStore.open(f"{web.url}/tiny.zarr")
    far.read([0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(far)).read([5]), near.read([5]))


@pytest.mark.parametrize(
    ("status", "file", "sentence"),
    [
        (403, "manifest.json", r"only for those who may read it \(403.*check the address and your credentials"),
        (403, "zarr.json", r"only for those who may read it \(403"),
        (500, "manifest.json", r"the server answers 500 to http.*manifest.json: check the address, or try again"),
        (404, "tiny.zarr/zarr.json", None),
    ],
)
def test_what_the_server_answers_is_told_in_a_sentence(web, status, file, sentence):
    web.answers[file] = status
    if sentence is None:  # the manifest is enough
        assert len(CutoutStore.open(f"{web.url}/tiny.zarr")) == 39
        return
    with pytest.raises(StoreError, match=sentence):
        CutoutStore.open(f"{web.url}/tiny.zarr")


def test_a_wrong_address_is_told_in_a_sentence(web):
    with pytest.raises(StoreError, match=rf"there is no store at {web.url}/tinny.zarr: check the address"):
        CutoutStore.open(f"{web.url}/tinny.zarr")
    with pytest.raises(StoreError, match=r"cannot be verified: it has no manifest\.json"):
        verify(f"{web.url}/tinny.zarr")
    with pytest.raises(StoreError, match=r"is no address that can be read \(Protocol not known"):
        CutoutStore.open("nosuch://tiny.zarr")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/tiny.zarr"
        with pytest.raises(StoreError, match=rf"{url}/zarr.json cannot be reached .*check the address and the network"):
            CutoutStore.open(url)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "afar", {"class": "absent_package.Files", "err": "Install afar"})
    with pytest.raises(StoreError, match=r"not installed \(Install afar\): .*pip install 'astrofm\[remote\]'"):
        CutoutStore.open("afar://surveys/tiny.zarr")


def test_a_shard_that_is_missing_is_never_read_as_nothing_observed(near, web):
    far = CutoutStore.open(f"{web.url}/tiny.zarr")
    (near.path / "image/c/1/0/0/0").unlink()
    for store in (near, far):
        with pytest.raises(StoreError, match=r"image/c/1/0/0/0 .*is missing: .*astrofm store verify"):
            store.read([9])
        assert np.isfinite(store.read([1])).all()
    with pytest.raises(StoreError, match=r"image/c/1/0/0/0 is missing"):
        open_array(near.path, "image")[9]


def test_a_server_that_ignores_ranges_is_found_out(web):
    web.has_ranges = False
    far = CutoutStore.open(f"{web.url}/tiny.zarr")
    with pytest.raises(StoreError, match=r"where 36 were asked for.*does not serve parts of files"):
        far.read([9])
    assert far.read(slice(0, 8)).shape == (8, 1, 24, 24)  # a whole shard needs no part


def test_a_store_in_a_bucket_reads_and_verifies_like_the_folder(near, bucket):
    url = bucket(near.path)
    far = CutoutStore.open(url)
    np.testing.assert_array_equal(far.read([30, 2, 17]), near.read([30, 2, 17]))
    np.testing.assert_array_equal(far.read(slice(None)), near.read(slice(None)))
    assert far.catalog.table.equals(near.catalog.table)
    assert verify(url) == []
    with pytest.raises(StoreError, match=r"there is no store at s3://surveys/none\.zarr"):
        CutoutStore.open("s3://surveys/none.zarr")


def test_foreign_files_in_a_bucket_are_named(near, bucket):
    (near.path / "notes.txt").write_text("mine")
    (near.path / "image/c/0/0/0/0").unlink()
    assert [str(damage).split(":")[0] for damage in verify(bucket(near.path))] == [
        "image/c/0/0/0/0 is missing",
        "notes.txt is no part of the store",
    ]


def test_a_store_in_memory_is_one_too(near):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(near.path), "/held/tiny.zarr", recursive=True)
    far = CutoutStore.open("memory://held/tiny.zarr")
    np.testing.assert_array_equal(far.read([3, 38]), near.read([3, 38]))
    assert verify("memory://held/tiny.zarr") == []
    memory.rm("/held", recursive=True)
