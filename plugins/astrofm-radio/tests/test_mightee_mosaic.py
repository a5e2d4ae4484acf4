"""MIGHTEE from a mosaic and its catalogue: what is taken, where it lies and what was voted on."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from astrofm_radio.mightee import ANSWERS, VOTES, selection_reasons
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import find_source

SCALE_ARCSEC = 1.1
SIDE = 1200
IMAGE, CATALOGUE = (
    f"MIGHTEE_Continuum_Early_Science_COSMOS_{name}.fits" for name in ("r0p0.app.restored.circ", "Level1")
)


@pytest.fixture(scope="module")
def survey():
    return plugins.survey("mightee")


@pytest.fixture(scope="module")
def sources(data_dir):
    """Names and positions of real sources of COSMOS within a third of a degree of the first."""
    table = pq.read_table(data_dir / "mightee" / "mightee_cosmos_positions.parquet").to_pydict()
    ra, dec = np.array(table["ra"]), np.array(table["dec"])
    near = np.hypot((ra - ra[0]) * np.cos(np.radians(dec)), dec - dec[0]) < 0.15
    _, first = np.unique(np.stack([ra[near], dec[near]]), axis=1, return_index=True)
    return [(np.array(table["mightee_name"])[near][i], ra[near][i], dec[near][i]) for i in sorted(first)][:12]


@pytest.fixture
def archive(sources, tmp_path):
    """A made-up mosaic around real sources, each a point of its number in mJy, one pixel east and two north of it."""
    header = fits.Header(
        {
            "BUNIT": "JY/BEAM",
            "CTYPE1": "RA---SIN",
            "CTYPE2": "DEC--SIN",
            "CRVAL1": sources[0][1],
            "CRVAL2": sources[0][2],
            "CRPIX1": SIDE / 2,
            "CRPIX2": SIDE / 2,
            "CDELT1": -SCALE_ARCSEC / 3600,
            "CDELT2": SCALE_ARCSEC / 3600,
            "BMAJ": 8.6 / 3600,
            "BMIN": 8.6 / 3600,
        }
    )
    image = np.random.default_rng(0).normal(0.0, 1e-6, (SIDE, SIDE)).astype(np.float32)
    x, y = WCS(header).world_to_pixel_values([ra for _, ra, _ in sources], [dec for _, _, dec in sources])
    for number, (column, row) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        image[row + 2, column - 1] = (number + 1) * 1e-3
    fits.PrimaryHDU(image[None, None], header).writeto(tmp_path / IMAGE)
    num = len(sources)
    table = Table({"NAME": [name for name, _, _ in sources], "RA": [ra for _, ra, _ in sources]})
    table["DEC"] = [dec for _, _, dec in sources]
    table["RESOLVED"], table["ISL_ID"] = np.ones(num, int), np.arange(num)
    table["S_INT"], table["S_PEAK"], table["ISL_RMS"] = np.full(num, 2e-3), np.full(num, 1e-3), np.full(num, 2e-5)
    table["RESOLVED"][1] = 0
    table["ISL_ID"][3], table["S_INT"][3] = 2, 1e-3  # fainter than number 2, in the same island
    table["ISL_RMS"][4] = 1e-4  # a peak of ten times the noise
    table.write(tmp_path / CATALOGUE)
    with (tmp_path / VOTES).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "ra", "dec", *ANSWERS])
        writer.writerow([*sources[0], 0, 0, 8, 0])
        writer.writerow([*sources[2], 0, 0, 1, 7])
    return tmp_path


def test_what_is_taken_is_resolved_and_the_brightest_of_its_island_and_bright(survey, archive, sources):
    source = find_source(survey.card, archive)
    assert source.product_name == "mosaic"
    table = survey.catalog(source)
    reasons = dict(zip(table["id_str"].tolist(), table["rejected"].tolist(), strict=True))
    names = [name for name, _, _ in sources]
    assert reasons[names[1]] == "not resolved"
    assert reasons[names[3]] == "not the brightest of its island"
    assert reasons[names[4]] == "peak below 20 rms"
    assert [reasons[name] for name in names if name not in (names[1], names[3], names[4])] == [""] * (len(names) - 3)


def test_an_unresolved_source_does_not_outshine_a_resolved_one_of_its_island():
    table = Table({"RESOLVED": [0, 1, 1], "ISL_ID": [5, 5, 5], "S_INT": [9.0, 2.0, 1.0], "S_PEAK": [1.0] * 3})
    table["ISL_RMS"] = [0.05] * 3  # a peak of 20 times the noise is enough
    assert selection_reasons(table).tolist() == ["not resolved", "", "not the brightest of its island"]


def test_cutouts_are_upright_and_have_the_votes_of_their_source(survey, archive, sources):
    ingest(survey, archive, archive / "out.zarr")
    store = CutoutStore.open(archive / "out.zarr")
    assert len(store) == len(sources) - 3
    numbers = {name: number for number, (name, _, _) in enumerate(sources)}
    for place, name in enumerate(store.catalog.column("id_str").tolist()):
        image = store.read([place])[0, 0]
        assert image.shape == (114, 114)
        row, column = np.argwhere(np.isclose(image, (numbers[name] + 1) * 1e-3, rtol=1e-3))[0]
        assert (row - 57, column - 57) in {(2 + i, -1 + j) for i in (-1, 0) for j in (-1, 0)}, "North up, East left"
    labels = dict(zip(store.catalog.column("id_str").tolist(), store.catalog.column("label").tolist(), strict=True))
    assert labels[sources[0][0]] == 0
    assert labels[sources[2][0]] == 1
    assert set(labels.values()) == {0, 1, -1}
    assert set(store.catalog.column("split")) == {"test"}
    assert np.isfinite(store.noise()).all()


def test_votes_for_what_is_not_there_and_a_missing_catalogue_are_one_sentence(survey, archive):
    with (archive / VOTES).open("a") as stream:
        stream.write("J000000.00+000000.0,1,2,0,0,5,5\n")
    with pytest.raises(DataError, match=r"1 sources of mightee_votes\.csv are not in the catalogue, the first 'J0000"):
        survey.catalog(find_source(survey.card, archive))
    (archive / CATALOGUE).unlink()
    with pytest.raises(DataError, match=r"needs one catalogue .* beside its mosaic, and has none"):
        survey.catalog(find_source(survey.card, archive))
