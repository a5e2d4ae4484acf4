"""LoTSS: the contract of every survey, and the classes of Mingo et al. 2019 joined to positions of another release."""

from collections import Counter

import numpy as np
import pytest
from astrofm_radio.lotss import FLAGS, MATCH_ARCSEC, MORPHOLOGIES, classify_flags, nearest_pairs
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrofm import CutoutStore, plugins
from astrofm.data.ingest import ingest
from astrofm.data.labels import task_labels
from astrofm.errors import DataError
from astrofm.survey import find_source
from astrofm.testing import SurveyTests

COUNTS = {-1: 2294, 0: 797, 1: 423, 2: 1709, 3: 123, 4: 264, 5: 195}
"""Of the real table."""


class TestLoTSS(SurveyTests):
    survey = "lotss"
    num_mock = 32


# The classes


@pytest.mark.parametrize(
    ("flags", "label"),
    [
        ("FR1", 0),
        ("FR2", 1),
        ("FR1 Small", 2),
        ("FR2 Small", 3),
        ("FR1 NAT", 4),
        ("FR1 WAT", 5),
        ("FR1 FR2", -1),
        ("Indeterminate", -1),
        ("Indeterminate Small", -1),
        ("Small", -1),
        ("D-D", -1),
        ("NAT", -1),
    ],
)
def test_one_fanaroff_riley_flag_makes_a_class(flags, label):
    given = {name: np.array([name in flags.split()]) for name in FLAGS}
    assert classify_flags(given).tolist() == [label]


@pytest.fixture(scope="module")
def morphologies(data_dir):
    """The table of Mingo et al. 2019 with the class of each source."""
    table = Table.read(data_dir / "lotss" / MORPHOLOGIES)
    table["label"] = classify_flags({name: np.asarray(table[name]) for name in FLAGS})
    return table


def test_the_real_table_has_the_classes_that_the_card_counts(morphologies):
    assert Counter(morphologies["label"].tolist()) == COUNTS
    card = plugins.survey("lotss").card
    assert set(COUNTS) == set(card.label_names)
    for task in card.tasks:
        for values in task.classes.values():
            assert str(sum(COUNTS[value] for value in values)) in task.title
    has_class = morphologies["label"] >= 0
    is_smaller = morphologies["LM_dec_size"] < card.field_of_view_arcsec.value
    assert f"{100 * is_smaller[has_class].mean():.1f}%" in card.field_of_view_arcsec.source


# The match


def positions(*offsets_arcsec):
    """A table of sources at some distance (east, north) from one place at a declination of 60 degrees."""
    east, north = np.array(offsets_arcsec).T / 3600
    ids = [f"s{number}" for number in range(len(offsets_arcsec))]
    return Table({"id_str": ids, "ra": 180.0 + east / np.cos(np.radians(60.0)), "dec": 60.0 + north})


def test_a_pair_is_nearest_both_ways_and_within_a_beam():
    rows = positions((0, 1), (0, 3), (50, 0), (100, 0), (200, 5.9), (300, 6.1), (401, 0))
    others = positions((0, 0), (50.5, 0), (51, 0), (200, 0), (300, 0), (400, 0))
    ours, theirs, off_arcsec = nearest_pairs(rows, others, MATCH_ARCSEC)
    found = {(int(a), int(b)): float(off) for a, b, off in zip(ours, theirs, off_arcsec, strict=True)}
    # The second row and the third of the others lose to nearer ones; row 3 has no one, and row 5 is too far away.
    assert found == {
        (0, 0): pytest.approx(1.0, abs=1e-3),
        (2, 1): pytest.approx(0.5, abs=1e-3),
        (4, 3): pytest.approx(5.9, abs=1e-3),
        (6, 5): pytest.approx(1.0, abs=1e-3),
    }


def test_a_row_without_a_position_and_tables_far_apart_have_no_pair():
    rows, others = positions((0, 0), (0, 1)), positions((0, 0))
    rows["ra"][0] = rows["dec"][0] = np.nan
    assert nearest_pairs(rows, others, MATCH_ARCSEC)[0].tolist() == [1]
    others["dec"] -= 10.0
    assert len(nearest_pairs(rows, others, MATCH_ARCSEC)[0]) == 0


# The archive


def write_mosaic(path, ra, dec, sources, num=220):
    """A mosaic as the survey makes it, (ra, dec) in the middle, blank outside a circle; sources are (ra, dec, jy)."""
    header = fits.Header({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": ra, "CRVAL2": dec, "RADESYS": "ICRS"})
    header.update({"CRPIX1": num / 2, "CRPIX2": num / 2, "CDELT1": -1.5 / 3600, "CDELT2": 1.5 / 3600})
    header.update({"BUNIT": "JY/BEAM", "BMAJ": 6 / 3600, "BMIN": 6 / 3600, "BPA": 0.0, "MOCK": True})
    grid_y, grid_x = np.indices((num, num))
    image = np.random.default_rng(num).normal(0, 1e-4, (num, num))
    for source_ra, source_dec, jy in sources:
        x, y = WCS(header).wcs_world2pix(source_ra, source_dec, 0)
        image += jy * np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * (6 / 1.5 / 2.3548) ** 2))
    image[np.hypot(grid_x - num / 2, grid_y - num / 2) > num / 2] = np.nan
    path.parent.mkdir()
    fits.PrimaryHDU(image.astype(np.float32), header).writeto(path)


def moved(source, east_arcsec, north_arcsec):
    """The position (ra, dec) of a row of the table, some arcsec away."""
    ra_deg = source["RA"] + east_arcsec / 3600 / np.cos(np.radians(source["DEC"]))
    return ra_deg, source["DEC"] + north_arcsec / 3600


@pytest.fixture(scope="module")
def around_real_sources(morphologies, data_dir, tmp_path_factory):
    """An archive around one real source of each class, at positions as another release might have them."""
    folder = tmp_path_factory.mktemp("lotss")
    (folder / MORPHOLOGIES).symlink_to(data_dir / "lotss" / MORPHOLOGIES)
    rng, rows = np.random.default_rng(5), []
    for label in COUNTS:
        # A source with no other near by, so that what is around it is known.
        chosen = morphologies[morphologies["label"] == label]
        source = chosen[len(chosen) // 2]
        ra, dec = moved(source, *rng.normal(0, 0.4, 2))
        east = moved(source, 60.0, 0.0)
        tile = f"P{len(rows):03d}+50"
        # A fainter source one arcmin to the East is in no table of morphologies.
        write_mosaic(folder / tile / "mosaic-blanked.fits", *moved(source, 10.0, -15.0), [(ra, dec, 0.2), (*east, 0.1)])
        rows += [(f"ILTJ-dr2-{label}", ra, dec, tile, label), (f"ILTJ-east-{label}", *east, tile, -1)]
    table = Table(rows=rows, names=["Source_Name", "RA", "DEC", "Mosaic_ID", "wanted"])
    table["file_loc"] = [f"{name}/mosaic-blanked.fits" for name in table["Mosaic_ID"]]
    table.write(folder / "lotss.fits")
    return folder


def test_real_sources_get_their_class_and_others_none(around_real_sources, morphologies, tmp_path):
    info = ingest(plugins.survey("lotss"), around_real_sources, tmp_path / "lotss.zarr")
    assert info["rejected"] == {}
    store = CutoutStore.open(tmp_path / "lotss.zarr")
    catalog, card = store.catalog, store.card
    labels = catalog.column("label")
    assert labels.tolist() == catalog.column("wanted").tolist()
    assert sorted(labels.tolist()) == sorted([*COUNTS, *[-1] * len(COUNTS)])
    assert catalog.column("label_name").tolist() == [card.label_names[label] for label in labels.tolist()]
    # The match names the source it was taken from, also where that has no class.
    names = np.char.strip(np.asarray(morphologies["Source_Name"], dtype=str))
    known = dict(zip(names.tolist(), morphologies["label"].tolist(), strict=True))
    matched = catalog.column("morphology_id")
    is_real = np.char.startswith(catalog.column("id_str"), "ILTJ-dr2")
    assert [known[name] for name in matched[is_real].tolist()] == labels[is_real].tolist()
    assert set(matched[~is_real]) == {""}
    assert (catalog.column("morphology_arcsec")[is_real] < 3.0).all()
    assert np.isnan(catalog.column("morphology_arcsec")[~is_real]).all()
    fr = task_labels(catalog, card.tasks[0])
    assert fr[is_real].tolist() == [{0: 0, 4: 0, 5: 0, 1: 1}.get(label, -1) for label in labels[is_real].tolist()]


def test_cutouts_are_centred_with_north_up_and_east_left_in_the_unit_and_beam_of_the_mosaics(
    around_real_sources, tmp_path
):
    ingest(plugins.survey("lotss"), around_real_sources, tmp_path / "lotss.zarr")
    store = CutoutStore.open(tmp_path / "lotss.zarr")
    assert store.product.unit == "Jy/beam"
    for column, value in {"pixel_scale": 1.5, "bmaj": 6.0, "bmin": 6.0}.items():
        np.testing.assert_allclose(store.catalog.column(column), value, rtol=1e-4)
    images = store.read(slice(0, len(store.catalog)))[:, 0]
    assert images.shape[1:] == (128, 128)
    for own, east in zip(images[::2], images[1::2], strict=True):
        assert np.unravel_index(np.nanargmax(own), own.shape) == (64, 64)
        assert np.nanmax(own) == pytest.approx(0.2, rel=0.09)  # half a pixel off in both axes is 0.917
        # 60 arcsec are 40 pixels: the second source is to the left of the first, which is to the right of it.
        y, x = np.unravel_index(np.nanargmax(own[:, :44]), (128, 44))
        assert (abs(y - 64) <= 1, abs(x - 24) <= 1) == (True, True)
        y, x = np.unravel_index(np.nanargmax(east), east.shape)
        assert (abs(y - 64) <= 1, abs(x - 104) <= 1) == (True, True)


def test_a_source_that_moved_by_more_than_a_beam_loses_its_class(around_real_sources, tmp_path):
    survey = plugins.survey("lotss")
    for file in around_real_sources.iterdir():
        if file.name != "lotss.fits":
            (tmp_path / file.name).symlink_to(file)
    table = Table.read(around_real_sources / "lotss.fits")
    table["DEC"][::2] += np.where(np.arange(len(table) // 2) % 2, 9.0, 2.0) / 3600
    table.write(tmp_path / "lotss.fits")
    found = survey.catalog(find_source(survey.card, tmp_path))
    has_match = np.asarray(found["morphology_id"][::2]) != ""
    assert has_match.tolist() == [place % 2 == 0 for place in range(len(COUNTS))]
    assert (np.asarray(found["label"][::2])[~has_match] == -1).all()


def test_a_folder_without_the_table_of_morphologies_or_with_another_is_refused(tmp_path, opened):
    survey, source = opened("lotss", plugins.survey("lotss").mock(4, 0, tmp_path))
    assert source.folder / MORPHOLOGIES in survey.files(source, survey.catalog(source))
    table = Table.read(tmp_path / MORPHOLOGIES)
    table.remove_column("WAT")
    table.write(tmp_path / MORPHOLOGIES, overwrite=True)
    with pytest.raises(DataError, match="has no column WAT; it has Source_Name"):
        survey.catalog(source)
    (tmp_path / MORPHOLOGIES).unlink()
    with pytest.raises(DataError, match=r"get it from https://lofar-surveys\.org/public/Mingo19"):
        survey.catalog(source)


def test_a_mock_has_sources_of_each_class_in_both_splits_and_some_that_the_table_does_not_have(tmp_path):
    survey = plugins.survey("lotss")
    ingest(survey, survey.mock(160, 2, tmp_path / "archive"), tmp_path / "lotss.zarr")
    assert "label" not in Table.read(tmp_path / "archive" / "lotss.fits").colnames
    catalog = CutoutStore.open(tmp_path / "lotss.zarr").catalog
    labels, splits = catalog.column("label"), catalog.column("split")
    assert set(labels.tolist()) == set(COUNTS)
    assert "" in catalog.column("morphology_id").tolist()
    is_fr = task_labels(catalog, survey.card.tasks[0])
    for split in ("train", "test"):
        assert {0, 1} <= set(is_fr[splits == split].tolist())
    cells = catalog.column("_healpix_29") >> 2 * (29 - 8)
    assert all(len(set(splits[cells == cell])) == 1 for cell in np.unique(cells))
