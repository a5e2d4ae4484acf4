"""The cards and commands of docs/no-code.md do what the page says, on small archives as odd as those it speaks of."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.fits.scripts import fitsheader
from astropy.io.votable.exceptions import W50
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from astrofm import plugins
from astrofm.card import SurveyCard
from astrofm.cli.main import run
from astrofm.data.fetch import is_fetchable
from astrofm.data.ingest import ingest
from astrofm.data.labels import task_labels
from astrofm.data.store import CutoutStore, store_info
from astrofm.home import store_path
from astrofm.survey import Survey

PAGE = Path(__file__).parents[1] / "docs" / "no-code.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.S | re.M)
NAMED = {match[1]: code for code in CODE if (match := re.match(r"# ([\w/-]+\.yaml)\n", code))}
CHANGES = {(match[1], match[2]): code for code in CODE if (match := re.match(r"# in ([\w-]+\.yaml): ([\w-]+)\n", code))}
COMMANDS = [line for code in CODE for line in code.splitlines() if line.startswith("astrofm ")]

SIZE = 64
NUM = 48


def table_head(first_column):
    """Return the first line of the table that the page shows, the one whose first column has that name."""
    (head,) = [code.splitlines()[0] for code in CODE if code.startswith(f"{first_column},")]
    return head


def write_card(name, *changes):
    """Write a card of the page where cards are found, with parts of it as another block has them."""
    given = yaml.safe_load(NAMED[name])
    for change in changes:
        given |= yaml.safe_load(CHANGES[name, change])
    path = Path("surveys") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    if "votes" in given:
        schema = path.parent / f"schemas/{given['votes']}.yaml"
        schema.parent.mkdir(exist_ok=True)
        schema.write_text(NAMED[f"schemas/{given['votes']}.yaml"], encoding="utf-8")
    return path


def stored(path, source):
    """Ingest a folder by a card, and return the store."""
    survey = Survey.from_yaml(path)
    ingest(survey, Path(source), store_path(survey.name))
    return CutoutStore.open(store_path(survey.name))


def classes_of(store):
    """Return how many rows each class of the first task has."""
    task = store.card.tasks[0]
    labels = task_labels(store.catalog, task, store.votes)
    return {name: int((labels == number).sum()) for number, name in enumerate(task.classes)}


def lines_of(head, rows):
    return "".join(f"{line}\n" for line in [head, *(",".join(map(str, row)) for row in rows)])


def double(index, rng, separation_pix):
    """Return two spots in noise of 1 mJy. Shape: (y, x)."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    image = rng.normal(0, 1e-3, (SIZE, SIZE))
    for side in (-1, 1):
        image += 0.1 * np.exp(-(y**2 + (x - side * separation_pix) ** 2) / 8)
    return image.astype(np.float32)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch, fresh_plugins):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("ASTROFM_SURVEYS", raising=False)


@pytest.fixture
def astrofm(monkeypatch, capsys):
    """Return ``astrofm(line, *more)``, which runs a command as it stands on the page and returns what it said."""

    def call(line, *more):
        words = re.findall(r"'([^']*)'|(\S+)", line)
        monkeypatch.setattr(sys, "argv", [quoted or bare for quoted, bare in words] + [str(word) for word in more])
        capsys.readouterr()
        plugins.forget()  # each command is a process of its own, and reads the cards anew
        with pytest.raises(SystemExit) as ended:
            run()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == 0, said.out + said.err
        return said.out + said.err

    return call


@pytest.fixture
def my_field():
    """``my_field`` with four-dimensional FITS files, a beam of their own, and the table of the page."""
    folder, rng, rows = Path("my_field"), np.random.default_rng(1), []
    folder.mkdir()
    for index in range(NUM):
        ra, dec = 120.0 + index / 4, 10.0 - index / 8
        image = double(index, rng, 14 if index % 2 else 4)
        if index == 6:
            image[:, :24] = np.nan
        if index == 7:
            image[:4] = np.nan
        axes = {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CTYPE3": "FREQ", "CTYPE4": "STOKES"}
        places = {"CRVAL1": ra, "CRVAL2": dec, "CRVAL3": 1.4e9, "CRVAL4": 1.0}
        steps = {"CDELT1": -1.8 / 3600, "CDELT2": 1.8 / 3600, "CDELT3": 1e6, "CDELT4": 1.0}
        pixels = {"CRPIX1": 33.0, "CRPIX2": 33.0, "CRPIX3": 1.0, "CRPIX4": 1.0}
        rest = {"BUNIT": "JY/BEAM", "BMAJ": 6.0 / 3600, "BMIN": 6.0 / 3600, "BPA": 0.0, "EQUINOX": 2000.0}
        name, word = f"FIRST_{index:04d}.fits", "FR II" if index % 2 else "FR I"
        fits.writeto(folder / name, image[None, None], fits.Header(axes | places | steps | pixels | rest))
        split = ("test", "val", "train", "train", "train")[index % 5]
        rows.append((f"J{index:04d}+0000", ra, dec, name, "hybrid" if index == 10 else word, split))
    (folder / "sources.csv").write_text(lines_of(table_head("IAU name"), rows), encoding="utf-8")
    return folder


@pytest.fixture
def my_pictures():
    """``my_pictures`` with JPEG files, redder at the top than at the bottom, and the table of the page."""
    folder, rng, rows = Path("my_pictures"), np.random.default_rng(2), []
    (folder / "pictures").mkdir(parents=True)
    for index in range(NUM):
        picture = rng.integers(0, 40, (SIZE, SIZE, 3), dtype=np.uint8)
        picture[8:24, 24:40, 0] = 220
        if index % 2:
            picture[30:34] = 120
        name = 587738197185462617 + index
        Image.fromarray(picture).save(folder / "pictures" / f"{name}.jpg", quality=95)
        rows.append((name, ("elliptical", "edge-on", "elliptical", "clockwise", "merger")[index % 5], "", ""))
    (folder / "labels.csv").write_text(lines_of(table_head("objid"), rows), encoding="utf-8")
    return folder


@pytest.fixture
def my_maps():
    """``my_maps`` with two maps side by side, and a VOTable in hours."""
    folder, rng = Path("my_maps"), np.random.default_rng(3)
    folder.mkdir()
    rows = []
    for number, ra in enumerate((150.0, 153.0)):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], [ra, 2.0], [350.5, 350.5]
        wcs.wcs.cdelt = [-15 / 3600, 15 / 3600]
        image = rng.normal(0, 1e-3, (700, 700)).astype(np.float32)
        for place in range(36):
            y, x = 60 + place // 6 * 110, 60 + place % 6 * 110
            kind = 1 + place % 2
            for offset in (0,) if kind == 1 else (-5, 5):
                image[y - 1 : y + 2, x + offset - 1 : x + offset + 2] += 0.1
            sky = wcs.pixel_to_world(x, y)
            hours = sky.ra.to_string(u.hour, sep=" ", pad=True, precision=3)
            degrees = sky.dec.to_string(sep=" ", pad=True, alwayssign=True, precision=2)
            rows.append((f"map{number}-{place:02d}", hours, degrees, kind, sky.ra.deg, sky.dec.deg))
        fits.writeto(folder / f"map{number}.fits", image, fits.Header({**wcs.to_header(), "BUNIT": "Jy/beam"}))
    fits.writeto(folder / "rms_of_all.fits", image)
    names = ["Name", "RAJ2000", "DEJ2000", "Type", "true_ra", "true_dec"]
    table = Table(rows=rows, names=names)
    for name, unit in (("RAJ2000", '"h:m:s"'), ("DEJ2000", '"d:m:s"')):
        table[name].unit = u.Unit(unit, parse_strict="silent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", W50)  # archives write these units, which the standard does not have
        table.write(folder / "components.vot", format="votable")
    return folder


def test_the_page_has_the_cards_and_changes_that_it_speaks_of():
    cards, schemas = (
        {"my-doubles.yaml", "my-pictures.yaml", "my-maps.yaml"},
        {"schemas/my-zoo.yaml", "schemas/my-classes.yaml"},
    )
    assert set(NAMED) == cards | schemas
    changes = {("my-doubles.yaml", name) for name in ("constants", "numbers", "one-hot", "archive")}
    assert set(CHANGES) == changes | {("my-pictures.yaml", "votes"), ("my-pictures.yaml", "bands")}
    named = ("ingest", "views", "ingest", "pretrain", "transfer", "survey")
    assert tuple(command.split()[1] for command in COMMANDS) == named


def test_the_lines_are_short():
    assert max(map(len, TEXT.splitlines())) <= 120


def test_headers_are_shown_as_the_page_shows_them(my_field, monkeypatch, capsys):
    (line,) = [line for code in CODE for line in code.splitlines() if line.startswith("fitsheader")]
    words = [quoted or bare for quoted, bare in re.findall(r"'([^']*)'|(\S+)", line)]
    words[-1] = str(my_field / Path(words[-1]).name.replace("0593", "0000"))
    fitsheader.main(words[1:])
    shown = dict(re.findall(r"^(\w+) *= *(\S+)", capsys.readouterr().out, re.M))
    for key in ("NAXIS1", "NAXIS2", "BUNIT", "CDELT2", "CTYPE3", "CRVAL3", "BMAJ", "BMIN", "BPA"):
        assert key in shown, key
    assert float(shown["CDELT2"]) * 3600 == pytest.approx(1.8)
    assert float(shown["BMAJ"]) * 3600 == pytest.approx(6.0)


def with_constants(path, said):
    """Put the constants that a command measured into a card, as the reader does."""
    measured = re.search(r"mean \[([\d., e+-]+)\][^\[]*std \[([\d., e+-]+)\]: put constants", said)
    assert measured, said
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    (product,) = given["products"].values()
    constants = {
        key: [float(value) for value in found.split(",")]
        for key, found in zip(("mean", "std"), measured.groups(), strict=True)
    }
    product["input"] = product.get("input", {}) | constants | {"measured_on": "the training split"}
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "folder", "num_cutouts"),
    [("my-doubles", "my_field", 47), ("my-pictures", "my_pictures", 48), ("my-maps", "my_maps", 72)],
)
def test_the_commands_of_the_page_lead_to_a_result(astrofm, request, name, folder, num_cutouts):
    """Each command as it stands, but for the name of the survey and what makes it small."""
    request.getfixturevalue(folder)
    path = write_card(f"{name}.yaml")
    small = {
        "views": ("--set", "training.batch_size=8", "--num", 2),
        "pretrain": ("--set", "training.batch_size=8", "--set", "training.max_steps=2"),
        "transfer": ("--seeds", 2, "--mode", "linear"),
    }
    said = {}
    for command in COMMANDS:
        line = command.replace("my-doubles", name).replace("my_field", folder).replace("--labels 50", "--labels 8")
        what = line.split()[1]
        said[what] = astrofm(line, *small.get(what, ()))
        if what == "views":
            assert "far from 0 and 1" in said[what]
            assert Path("views-byol-quick-radio.png").is_file() or Path("views-byol-quick-optical.png").is_file()
            with_constants(path, said[what])
    assert len(CutoutStore.open(store_path(name))) == num_cutouts
    assert "2 steps" in said["pretrain"]
    assert "pretrained" in said["transfer"]
    assert "random" in said["transfer"]
    assert "the contract is kept" in said["survey"]


def test_cards_are_found_by_name_by_folder_and_by_path(astrofm, monkeypatch):
    path = write_card("my-doubles.yaml")
    assert "my-doubles" in astrofm("astrofm survey list")
    elsewhere = Path("elsewhere")
    path.parent.rename(elsewhere)
    assert "my-doubles" not in astrofm("astrofm survey list")
    assert "Double radio sources" in astrofm("astrofm survey info elsewhere/my-doubles.yaml")
    monkeypatch.setenv("ASTROFM_SURVEYS", f"nowhere:{elsewhere}")
    assert "my-doubles" in astrofm("astrofm survey list")
    assert "Me" in astrofm("astrofm cite --survey my-doubles")


def test_cutouts_with_odd_ids_words_and_degenerate_axes(my_field):
    table = my_field / "sources.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",val\n", ",Valid\n").replace(",test\n", ",TEST\n"))
    store = stored(write_card("my-doubles.yaml"), my_field)
    ids = store.catalog.column("id_str").tolist()
    assert len(store) == NUM - 1
    assert store_info(store.path)["rejected"] == {"missing pixels": 1}
    assert "J0006+0000" not in ids
    assert classes_of(store) == {"FRI": 22, "FRII": 24}
    splits = store.catalog.column("split").tolist()
    assert {name: splits.count(name) for name in ("train", "val", "test")} == {"train": 28, "val": 9, "test": 10}
    np.testing.assert_allclose(store.catalog.column("bmaj"), 6.0)
    row = ids.index("J0007+0000")
    image = store.read([row])[0]
    written = fits.getdata(my_field / "FIRST_0007.fits")
    np.testing.assert_array_equal(image, written[0])


def test_sexagesimal_positions_of_a_csv_by_lines_at_its_top(my_field):
    (top,) = [code for code in CODE if code.startswith("# %ECSV")]
    given = Table.read(my_field / "sources.csv", format="ascii.csv")
    sky = SkyCoord(given["RA"], given["Dec"], unit="deg")
    hours, degrees = sky.ra.to_string(u.hour, sep=" ", precision=4), sky.dec.to_string(sep=" ", precision=3)
    rows = [(row["IAU name"], ra, dec, *list(row)[3:]) for row, ra, dec in zip(given, hours, degrees, strict=True)]
    (my_field / "sources.ecsv").write_text(top + lines_of(table_head("IAU name"), rows), encoding="utf-8")
    path = write_card("my-doubles.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("sources.csv", "sources.ecsv"), encoding="utf-8")
    store = stored(path, my_field)
    assert len(store) == NUM - 1
    rows = [list(given["IAU name"]).index(name) for name in store.catalog.column("id_str")]
    np.testing.assert_allclose(store.catalog.column("ra"), given["RA"][rows], atol=1e-6)
    np.testing.assert_allclose(store.catalog.column("dec"), given["Dec"][rows], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "head", "cells"),
    [
        ("numbers", "Source,ra,dec,image,fr_class", ("1", "2", "9", "")),
        ("one-hot", "Source,ra,dec,image,is_fr1,is_fr2", ("1,0", "0,1", "0,0", "0,0")),
    ],
)
def test_labels_as_numbers_or_as_a_column_for_each_class(astrofm, my_field, change, head, cells):
    path = write_card("my-doubles.yaml", change)
    rows = [
        (f"S{index}", 120.0 + index / 4, 10.0 - index / 8, f"FIRST_{index:04d}.fits", cells[index % 4])
        for index in range(NUM)
    ]
    table = yaml.safe_load(CHANGES["my-doubles.yaml", change])["folder"]["table"]
    (my_field / table).write_text(lines_of(head, rows), encoding="utf-8")
    store = stored(path, my_field)
    assert len(store) == NUM - 1
    assert classes_of(store) == {"FRI": 12, "FRII": 12}
    assert set(store.catalog.column("split")) == {"train", "test"}
    assert "the contract is kept" in astrofm("astrofm survey check my-doubles")


def test_words_for_true_and_false(my_field):
    path = write_card("my-doubles.yaml", "numbers")
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    (words,) = re.findall(r'the classes\s`(\["True"\])`\sand\s`(\["False"\])`', TEXT)
    given["tasks"][0]["classes"] = {"FRI": yaml.safe_load(words[0]), "FRII": yaml.safe_load(words[1])}
    path.write_text(yaml.safe_dump(given | {"label_names": {}}), encoding="utf-8")
    rows = [
        (f"S{index}", 120.0 + index / 4, 10.0 - index / 8, f"FIRST_{index:04d}.fits", index % 3 == 0)
        for index in range(NUM)
    ]
    (my_field / "numbers.csv").write_text(lines_of("Source,ra,dec,image,fr_class", rows), encoding="utf-8")
    assert classes_of(stored(path, my_field)) == {"FRI": 15, "FRII": 32}


def test_pictures_have_their_colours_their_top_in_the_north_and_exact_shares(my_pictures):
    store = stored(write_card("my-pictures.yaml"), my_pictures)
    image = store.read([0])[0]
    assert (image.dtype, image.shape) == (np.uint8, (3, SIZE, SIZE))
    assert image[0, 44:52, 28:36].mean() > 200
    assert image[1:, 44:52, 28:36].max() < 120
    assert image[0, 12:20, 28:36].max() < 120
    assert np.isnan(store.catalog.column("ra")).all()
    assert classes_of(store) == {"elliptical": 20, "spiral": 19}
    words, splits = store.catalog.column("class_name"), store.catalog.column("split")
    assert {word: int((splits[words == word] == "test").sum()) for word in ("elliptical", "edge-on", "merger")} == {
        "elliptical": 4,
        "edge-on": 2,
        "merger": 2,
    }


def test_maps_are_cut_at_positions_in_hours_and_split_by_the_sky(my_maps):
    store = stored(write_card("my-maps.yaml"), my_maps)
    catalog = store.catalog
    np.testing.assert_allclose(catalog.column("ra"), catalog.column("true_ra"), atol=1e-5)
    np.testing.assert_allclose(catalog.column("dec"), catalog.column("true_dec"), atol=1e-5)
    assert {name.partition("-")[0] + ".fits" for name in catalog.column("id_str")} == set(catalog.column("file_loc"))
    images = store.read(np.arange(len(store)))
    assert images.shape == (72, 1, 48, 48)
    single = catalog.column("label") == 1
    assert images[single, 0, 24, 24].min() > 0.09
    assert images[~single, 0, 24, 24].max() < 0.01
    assert images[~single, 0, 24, [[19], [29]]].min() > 0.09
    assert classes_of(store) == {"single": 36, "double": 36}
    cells = catalog.column("_healpix_29") >> 2 * (29 - 8)
    splits = catalog.column("split")
    assert set(splits) == {"train", "test"}
    assert len(set(zip(cells, splits, strict=True))) == len(set(cells))


def test_votes_are_counted_by_their_schema_among_columns_that_look_like_votes(my_pictures, astrofm):
    path = write_card("my-pictures.yaml", "votes")
    counts = ((8, 1, 0), (1, 9, 0), (0, 2, 7), (2, 1, 0))
    head = "objid,ra,dec,smooth_smooth,smooth_featured,smooth_artifact,smooth_prediction,smooth_confidence"
    rows = [(587738197185462617 + index, "", "", *counts[index % 4], "smooth", 0.5) for index in range(NUM)]
    (my_pictures / "votes.csv").write_text(lines_of(head, rows), encoding="utf-8")
    store = stored(path, my_pictures)
    assert classes_of(store) == {"smooth": 12, "featured": 12, "artifact": 12}
    assert "the contract is kept" in astrofm("astrofm survey check my-pictures --source my_pictures")


def test_a_file_for_each_band_and_channels_for_their_number(my_pictures, astrofm):
    path = write_card("my-pictures.yaml", "bands")
    rng = np.random.default_rng(5)
    for number, band in enumerate("irg"):
        (my_pictures / band).mkdir()
        for index in range(NUM):
            pixels = rng.normal(10 * (number + 1), 5, (SIZE, SIZE)).astype(np.float32)
            pixels[24:40, 24:40] += 100
            if (band, index) != ("g", 3):
                fits.writeto(my_pictures / band / f"{587738197185462617 + index}.fits", pixels)
    store = stored(path, my_pictures)
    image = store.read([0])
    assert len(store) == NUM - 1
    np.testing.assert_allclose(image[0, :, :16].mean(axis=(1, 2)), [10, 20, 30], atol=1)

    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    given["bands"] = given["bands"][:2]
    given["products"]["fits"]["shape"][0] = 2
    del given["folder"]["bands"]["MyCam-g"]
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    (channels,) = re.findall(r"`(--set 'data\.channels=.*?)`", TEXT)
    astrofm("astrofm ingest --survey my-pictures --source my_pictures --overwrite")
    said = astrofm(
        f"astrofm pretrain --survey my-pictures {channels} --set training.batch_size=8 --set training.max_steps=2"
    )
    assert "48 cutouts" not in said
    assert "2 steps" in said


def test_an_archive_on_the_card_can_be_fetched():
    given = yaml.safe_load(NAMED["my-doubles.yaml"]) | yaml.safe_load(CHANGES["my-doubles.yaml", "archive"])
    assert is_fetchable(SurveyCard.model_validate(given))


def test_the_constants_are_all_that_the_card_is_given_after_a_look():
    given = yaml.safe_load(NAMED["my-doubles.yaml"])
    before, after = (
        given["products"]["fits"],
        yaml.safe_load(CHANGES["my-doubles.yaml", "constants"])["products"]["fits"],
    )
    SurveyCard.model_validate(given | {"products": {"fits": after}})
    added = after["input"].keys() - before["input"].keys()
    assert added == {"mean", "std", "measured_on"}
    assert after | {"input": {key: value for key, value in after["input"].items() if key not in added}} == before
