"""Mosaics that are not in memory: on the web, and larger than it."""

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrofm.card import SurveyCard
from astrofm.data.files.noise import clipped_std
from astrofm.data.forms import mosaic_image
from astrofm.data.forms.mosaic import mosaic_catalog, mosaic_cutouts
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import Survey, find_source

NUM, SIZE = 1200, 16


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder in parts, and counts what it sends."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), RangeHandler)
        self.folder, self.num_bytes, self.num_requests = folder, 0, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if with_content:
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last - first + 1))
            self.server.num_bytes += last - first + 1
            self.server.num_requests += 1

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")
    folder = tmp_path / "web"
    folder.mkdir()
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    mosaic_image.forget()
    server.shutdown()
    thread.join()
    server.server_close()


def card(images, size=SIZE):
    return SurveyCard.model_validate(
        {
            "name": "far",
            "title": "Far",
            "domain": "radio",
            "reference": "made for tests",
            "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
            "pixel_scale_arcsec": 3.6,
            "field_of_view_arcsec": 3.6 * size,
            "beam": {"unknown": "the header of each tile"},
            "products": {
                "map": {"pattern": "sources.csv", "shape": [1, size, size], "unit": "Jy/beam", "dtype": "float32"}
            },
            "splits": {"scheme": "by-id"},
            "citation": "@misc{far}",
            "hard": "nothing",
            "recipe": "none",
            "quick_recipe": "none",
            "mosaic": {"table": "sources.csv", "images": images},
        }
    )


def header(num=NUM):
    found = fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 10.0, "CRVAL2": -30.0})
    found.update({"CRPIX1": num / 2, "CRPIX2": num / 2, "CDELT1": -1e-3, "CDELT2": 1e-3, "BUNIT": "Jy/beam"})
    return found


def write_sources(folder, num_sources, num=NUM):
    folder.mkdir(exist_ok=True)
    x, y = np.random.default_rng(1).uniform(0, num - 1, (2, num_sources))
    ra, dec = WCS(header(num)).wcs_pix2world(x, y, 0)
    Table({"id_str": [f"s{i}" for i in range(num_sources)], "ra": ra, "dec": dec}).write(folder / "sources.csv")


def cutouts(survey_card, folder):
    source = find_source(survey_card, folder)
    return list(mosaic_cutouts(survey_card, source, mosaic_catalog(survey_card, source)))


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_mosaic_on_the_web_gives_the_cutouts_of_the_file_for_a_part_of_its_bytes(server, is_packed, tmp_path):
    pixels = np.random.default_rng(0).normal(size=(NUM, NUM)).astype(np.float32)
    hdu = fits.CompImageHDU(pixels, header(), tile_shape=(50, 50)) if is_packed else fits.PrimaryHDU(pixels, header())
    hdu.writeto(server.folder / "map.fits")
    write_sources(tmp_path / "table", 6)
    (far,) = cutouts(card(f"{server.url}/map.fits"), tmp_path / "table")
    whole = fits.getdata(server.folder / "map.fits")
    sources = Table.read(tmp_path / "table" / "sources.csv")
    x, y = np.rint(WCS(header()).wcs_world2pix(sources["ra"], sources["dec"], 0)).astype(int)
    for image, rms, px, py in zip(far.images[:, 0], far.meta["rms"], x, y, strict=True):
        np.testing.assert_array_equal(image, whole[py - 8 : py + 8, px - 8 : px + 8])
        assert rms == clipped_std(image)
    assert server.num_bytes < (server.folder / "map.fits").stat().st_size / 2
    assert server.num_requests < 60


def test_sources_close_to_each_other_share_their_requests(server, tmp_path):
    fits.PrimaryHDU(np.zeros((NUM, NUM), np.float32), header()).writeto(server.folder / "map.fits")
    folder = tmp_path / "table"
    folder.mkdir()
    x, y = np.random.default_rng(1).uniform([[100], [600]], [[1000], [640]], (2, 300))
    ra, dec = WCS(header()).wcs_pix2world(x, y, 0)
    Table({"id_str": [f"s{i}" for i in range(300)], "ra": ra, "dec": dec}).write(folder / "sources.csv")
    (batch,) = cutouts(card(f"{server.url}/map.fits"), folder)
    assert len(batch.images) == 300
    assert server.num_requests < 10


def test_a_store_is_made_of_a_mosaic_on_the_web(server, tmp_path):
    pixels = np.random.default_rng(0).normal(size=(NUM, NUM)).astype(np.float32)
    fits.PrimaryHDU(pixels, header()).writeto(server.folder / "map.fits")
    write_sources(tmp_path / "table", 5)
    url = f"{server.url}/map.fits"
    ingest(Survey(card(url)), tmp_path / "table", tmp_path / "out.zarr")
    store = CutoutStore.open(tmp_path / "out.zarr")
    assert store.shape == (5, 1, SIZE, SIZE)
    assert set(store.catalog.column("file_loc")) == {url}


def test_a_server_that_does_not_have_it_is_named_in_one_sentence(server, tmp_path):
    write_sources(tmp_path / "table", 2)
    with pytest.raises(DataError, match=r"the mosaic http.*none\.fits cannot be read"):
        cutouts(card(f"{server.url}/none.fits"), tmp_path / "table")


IN_SO_MUCH_MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
from test_mosaic_far import card, cutouts
batches = 0
from astrofm.data.forms.mosaic import mosaic_catalog, mosaic_cutouts
from astrofm.survey import find_source
survey_card = card("map.fits", 64)
source = find_source(survey_card, Path({folder!r}))
table = mosaic_catalog(survey_card, source)
num = sum(len(batch.images) for batch in mosaic_cutouts(survey_card, source, table))
print(num, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_mosaic_of_many_gigabytes_is_cut_in_bounded_memory(tmp_path):
    from pathlib import Path

    num = 60_000  # 14.4 GB, of which the disk holds next to nothing
    folder = tmp_path / "archive"
    write_sources(folder, 5000, num)
    head = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": num, "NAXIS2": num})
    head.extend(header(num))
    raw = head.tostring().encode("ascii")
    with (folder / "map.fits").open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + 4 * num * num)
    script = IN_SO_MUCH_MEMORY.format(tests=str(Path(__file__).parent), folder=str(folder))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    num_cutouts, megabytes = map(int, ran.stdout.split())
    assert num_cutouts == 5000
    assert megabytes < 1500
