"""The cards of surveys without code keep the contract of every survey."""

import numpy as np
import pytest
import yaml
from astropy.coordinates import SkyCoord
from astropy.io import fits

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.loader import Feed
from astrofm.data.options import IngestOptions
from astrofm.data.store import CutoutStore
from astrofm.home import shipped
from astrofm.plan import check_normalisation, input_plan, make_contract
from astrofm.recipe import Recipe
from astrofm.survey import Survey, find_source
from astrofm.testing import SurveyTests


class TestNVSS(SurveyTests):
    survey = "nvss"


class TestVLASS(SurveyTests):
    survey = "vlass"


class TestHSC(SurveyTests):
    survey = "hsc"


def test_every_shipped_card_is_a_survey_without_code():
    cards = sorted(shipped("surveys").glob("*.yaml"))
    assert cards
    for card in cards:
        survey = plugins.survey(card.stem)
        assert survey.name == card.stem
        assert survey.card.folder is not None or survey.card.mosaic is not None


@pytest.mark.parametrize("name", ["nvss", "vlass", "hsc"])
def test_cutouts_are_as_wide_as_the_card_says(name):
    card = plugins.survey(name).card
    (product,) = card.products.values()
    assert product.size_pix[0] * card.pixel_scale_arcsec.value == pytest.approx(card.field_of_view_arcsec.value)


def test_the_beam_of_nvss_spans_three_pixels():
    card = plugins.survey("nvss").card
    assert card.resolution_arcsec == 3 * card.pixel_scale_arcsec.value


@pytest.fixture
def hsc_cube(data_dir, tmp_path):
    """Folder with a real cube of HSC and a table that names it, as a user has them; and the cube's pixels."""
    folder = tmp_path / "hsc"
    folder.mkdir()
    (folder / "cosmos-1.fits").symlink_to(data_dir / "optical-fits" / "Cut_HSC1.fits")
    (folder / "hsc.csv").write_text("object_id,ra,dec\ncosmos-1,150.33035,2.07040\n")
    return folder, fits.getdata(folder / "cosmos-1.fits")


SMALLER = "1 of 1 images of 'hsc' are smaller than the 64 x 64 pixels that are stored, typically 50 x 50"


def test_a_real_cube_of_hsc_is_stored_pixel_by_pixel(hsc_cube, tmp_path):
    """50 pixels about the centre of the 64 that are stored, from the first row in the South."""
    folder, pixels = hsc_cube
    with pytest.warns(UserWarning, match=SMALLER):
        ingest(plugins.survey("hsc"), folder, tmp_path / "hsc.zarr")
    store = CutoutStore.open(tmp_path / "hsc.zarr")
    (stored,) = np.asarray(store.read([0]))
    np.testing.assert_array_equal(stored[:, 7:57, 7:57], pixels.astype(np.float32))
    assert np.isnan(stored).sum() == 5 * (64**2 - 50**2)
    assert store.catalog.column("id_str").tolist() == ["cosmos-1"]
    assert store.catalog.column("pixel_scale")[0] == pytest.approx(0.168)
    assert store.catalog.column("flip_x")[0] == store.catalog.column("flip_y")[0] == 0


def test_a_real_cube_of_hsc_lies_north_up_and_east_left_about_its_position(hsc_cube):
    folder, _ = hsc_cube
    survey = plugins.survey("hsc")
    source = find_source(survey.card, folder)
    (cutout,) = survey.cutouts(source, survey.catalog(source))
    centre, above, left = (cutout.wcs.pixel_to_world(*place) for place in ((25, 25), (25, 26), (24, 25)))
    assert centre.separation(SkyCoord(150.33035, 2.07040, unit="deg")).arcsec < 0.168
    assert centre.position_angle(above).wrap_at("180d").deg == pytest.approx(0, abs=1)
    assert centre.position_angle(left).deg == pytest.approx(90, abs=1)


def test_the_counts_of_hsc_are_at_zero_point_27(hsc_cube, tmp_path):
    """A count is 27.0 mag (AB), a nanomaggy 22.5: the flux is a factor of 10^-1.8 apart."""
    folder, pixels = hsc_cube
    with pytest.warns(UserWarning, match=SMALLER):
        ingest(plugins.survey("hsc"), folder, tmp_path / "hsc.zarr", options=IngestOptions(unit="nanomaggy"))
    store = CutoutStore.open(tmp_path / "hsc.zarr")
    (stored,) = np.asarray(store.read([0]))
    assert {band.unit for band in store.card.bands} == {"nanomaggy"}
    np.testing.assert_allclose(stored[:, 7:57, 7:57], pixels * 10**-1.8, rtol=1e-3)


def test_a_real_cube_of_hsc_passes_the_check_of_the_normalisation(hsc_cube, tmp_path):
    with pytest.warns(UserWarning, match=SMALLER):
        ingest(plugins.survey("hsc"), hsc_cube[0], tmp_path / "hsc.zarr")
    store = CutoutStore.open(tmp_path / "hsc.zarr")
    recipe = Recipe.load("byol-quick-grizy", ["data.size_pix=50", "data.field_of_view_arcsec=8.4"])
    check_normalisation(make_contract(recipe, [store]), {"hsc": input_plan(store)}, (Feed("hsc", store, np.arange(1)),))


def test_hsc_may_have_a_file_for_each_band(tmp_path):
    """With the lines that the card gives for it."""
    card = shipped("surveys") / "hsc.yaml"
    text = card.read_text(encoding="utf-8")
    lines = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#   ")]
    given = yaml.safe_load(text) | {"name": "hsc-files"}
    del given["folder"]["images"]
    given["folder"] |= yaml.safe_load("\n".join(lines))
    path = tmp_path / "hsc-files.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    survey = Survey.from_yaml(path)
    archive = survey.mock(3, 0, tmp_path / "mock")
    assert len(list(archive.glob("*.fits"))) == 15
    ingest(survey, archive, tmp_path / "files.zarr")
    cubes = plugins.survey("hsc")
    ingest(cubes, cubes.mock(3, 0, tmp_path / "cubes"), tmp_path / "cubes.zarr")
    stored = [np.asarray(CutoutStore.open(tmp_path / f"{name}.zarr").read(np.arange(3))) for name in ("files", "cubes")]
    np.testing.assert_array_equal(*stored)
