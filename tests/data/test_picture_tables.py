"""Parquet files with pictures: what is taken, what is refused, which way is up, and how much memory it takes."""

import io
import json
import tracemalloc
from collections import Counter
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from astrofm.card import SurveyCard
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Cutout, CutoutBatch, Rejected
from astrofm.data.forms.pictures import decode_picture
from astrofm.data.ingest import ingest
from astrofm.data.labels import task_labels
from astrofm.data.store import CutoutStore
from astrofm.errors import DataError
from astrofm.survey import Survey, find_source
from astrofm.testing import SurveyTests

BANDS = [
    {"name": f"My-{band}", "unit": "8-bit", "wavelength_nm": wavelength}
    for band, wavelength in (("i", 763), ("r", 622), ("g", 475))
]


def card(pictures, *, shape=(3, 8, 8), pattern="*.parquet", **changes):
    given = {
        "name": "my-pictures",
        "title": "Pictures in Parquet",
        "domain": "optical",
        "reference": "made for tests",
        "bands": BANDS[: shape[0]],
        "pixel_scale_arcsec": 0.4,
        "field_of_view_arcsec": {"unknown": "the scale of each picture"},
        "psf_fwhm_arcsec": 1.2,
        "products": {"parquet": {"pattern": pattern, "shape": shape, "unit": "8-bit", "dtype": "uint8"}},
        "splits": {"scheme": "by-id"},
        "citation": "@misc{pictures, year = {2026}}",
        "hard": "Nothing is hard about them.",
        "recipe": "byol-quick-optical",
        "quick_recipe": "byol-quick-optical",
        "pictures": pictures,
    }
    return SurveyCard.model_validate(given | changes)


def encoded(pixels, kind="JPEG", **how):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, format=kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}) | how
    )
    return buffer.getvalue()


def flat(level, size=8):
    return encoded(np.full((size, size, 3), level, dtype=np.uint8))


def archive(folder, files, row_group=2, **changes):
    """Write files of grey pictures whose level is ten times their id; None drops a column."""
    folder.mkdir(exist_ok=True)
    for name, ids in files.items():
        columns = {"id_str": ids, "image": [{"bytes": flat(10 * int(i)), "path": f"{i}.jpg"} for i in ids]}
        columns = {key: value for key, value in (columns | changes).items() if value is not None}
        pq.write_table(pa.table(columns), folder / name, row_group_size=row_group)
    return folder


def opened(survey_card, folder):
    survey = Survey(survey_card)
    source = find_source(survey_card, folder)
    return survey, source, survey.catalog(source)


def levels(cutouts):
    """The level of each picture in order, or the reason why there is none."""
    found = []
    for item in cutouts:
        if isinstance(item, CutoutBatch):
            found += [round(float(np.median(image)), -1) for image in item.images]
        else:
            found.append(item.reason if isinstance(item, Rejected) else item)
    return found


def test_rows_follow_the_files_and_each_knows_its_place(tmp_path):
    _, _, table = opened(card({}), archive(tmp_path, {"b.parquet": ["3"], "a.parquet": ["1", "2"]}))
    assert list(table["id_str"]) == ["1", "2", "3"]
    assert list(table["file_loc"]) == ["a.parquet", "a.parquet", "b.parquet"]
    assert list(table["file_row"]) == [0, 1, 0]
    assert np.isnan(table["ra"]).all()


def test_pictures_are_bytes_or_a_struct_with_bytes(tmp_path):
    plain = archive(tmp_path / "plain", {"a.parquet": ["1", "2"]}, image=None, jpeg=[flat(10), flat(20)])
    survey, source, table = opened(card({"image": "jpeg"}), plain)
    assert levels(survey.cutouts(source, table)) == [10, 20]
    survey, source, table = opened(card({}), archive(tmp_path / "struct", {"a.parquet": ["1", "2"]}))
    assert levels(survey.cutouts(source, table)) == [10, 20]


def test_columns_are_renamed_as_the_card_says_and_labels_serve_a_task(tmp_path):
    files = archive(tmp_path, {"a.parquet": ["1", "2"]}, id_str=None, name=["x", "y"], kind=[0, 1], RAJ2000=[1.0, 2.0])
    task = {"name": "t", "title": "t", "column": "label", "classes": {"a": [0], "b": [1]}}
    pq.write_table(pq.read_table(files / "a.parquet").append_column("DEJ2000", [[3.0, 4.0]]), files / "a.parquet")
    survey_card = card({"columns": {"id_str": "name", "label": "kind"}}, tasks=[task])
    _, _, table = opened(survey_card, files)
    catalog = Catalog.from_astropy(table)
    assert catalog.column("ra").tolist() == [1.0, 2.0]
    assert catalog.column("id_str").tolist() == ["x", "y"]
    assert task_labels(catalog, survey_card.tasks[0]).tolist() == [0, 1]


def test_rows_without_ids_are_called_after_file_and_place(tmp_path):
    for name, count in (("a", 2), ("b", 1)):
        pq.write_table(pa.table({"image": [flat(10)] * count}), tmp_path / f"{name}.parquet")
    _, _, table = opened(card({}), tmp_path)
    assert list(table["id_str"]) == ["a-0", "a-1", "b-0"]


def test_the_split_is_in_the_name_of_the_file(tmp_path):
    names = ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet", "validation.parquet"]
    survey_card = card({"split_from_name": True}, splits={"scheme": "published"})
    _, _, table = opened(survey_card, archive(tmp_path, {name: [str(i)] for i, name in enumerate(names)}))
    assert list(table["split"]) == ["test", "train", "val"]
    archive(tmp_path, {"0000.parquet": ["7"]})
    with pytest.raises(DataError, match=r"0000\.parquet tells no split"):
        opened(survey_card, tmp_path)


def test_columns_may_be_left_out_by_pattern_and_odd_ones_are_named(tmp_path):
    files = archive(tmp_path, {"a.parquet": ["1"]}, a_fraction=[0.5], b_fraction=[0.5], a=[1], thumbnail=[b"x"])
    with pytest.warns(UserWarning, match=r"a\.parquet: neither numbers nor text, left out: thumbnail"):
        _, _, table = opened(card({"leave_out": ["*_fraction"]}), files)
    assert {"a", "a_fraction", "b_fraction", "thumbnail"} & set(table.colnames) == {"a"}


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ({"image": "jpg"}, r"a\.parquet has no column 'jpg' with pictures.*it has id_str, image"),
        ({"image": "id_str"}, r"column 'id_str' of a\.parquet is of type string; pictures are bytes"),
        ({"columns": {"label": "kind"}}, r"no column 'kind', which the card maps to 'label'"),
    ],
)
def test_a_column_that_is_not_there_is_named(tmp_path, pictures, said):
    archive(tmp_path, {"a.parquet": ["1"]})
    with pytest.raises(DataError, match=said):
        opened(card(pictures), tmp_path)


def test_files_that_differ_in_their_columns_are_refused(tmp_path):
    archive(tmp_path, {"a.parquet": ["1"]})
    archive(tmp_path, {"b.parquet": ["2"]}, votes=[3])
    with pytest.raises(DataError, match=r"b\.parquet and a\.parquet differ in the columns votes"):
        opened(card({}), tmp_path)
    archive(tmp_path, {"b.parquet": ["2"]}, id_str=[2])
    with pytest.raises(DataError, match="differ in the type of a column"):
        opened(card({}), tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    archive(tmp_path, {"a.parquet": ["1"]})
    file = tmp_path / "a.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        opened(card({}), tmp_path)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(9)), st.integers(1, 5))
def test_each_row_gets_its_own_picture_in_any_order(tmp_path_factory, order, row_group):
    folder = tmp_path_factory.mktemp("archive")
    archive(folder, {"a.parquet": list("12345"), "b.parquet": list("6789")}, row_group=row_group)
    survey, source, table = opened(card({}), folder)
    rows = table[list(order)]
    assert levels(survey.cutouts(source, rows)) == [10 * int(name) for name in rows["id_str"]]


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    survey, source, table = opened(card({}), archive(tmp_path, {"a.parquet": ["1", "2"]}))
    assert levels(survey.cutouts(source, table)) == [10, 20]
    archive(tmp_path, {"a.parquet": ["3", "4"]})
    assert levels(survey.cutouts(source, table)) == [30, 40]


def test_a_picture_that_cannot_be_used_is_rejected_in_its_place(tmp_path):
    images = [
        flat(10),
        flat(50)[:200],
        None,
        flat(50, size=4),
        encoded(np.zeros((16, 20, 3), dtype=np.uint8)),
        b"GIF89a",
        flat(20),
    ]
    files = archive(tmp_path, {"a.parquet": list("1234567")}, image=images)
    survey, source, table = opened(card({}), files)
    reasons = ["truncated file", "no image", "too small", "wrong aspect", "not a picture"]
    assert levels(survey.cutouts(source, table)) == [10, *reasons, 20]


def test_the_top_of_a_picture_is_north_and_its_bands_are_red_green_blue():
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:8, :, 0] = 200  # red above
    picture[8:, :, 2] = 200  # blue below
    for content in (encoded(picture), encoded(picture, "PNG")):
        image = decode_picture(content, (3, 16, 16)).image
        assert image.dtype == np.uint8
        red, _, blue = image.astype(int)
        assert red[12:].mean() > 150 > 50 > red[:4].mean(), "y increases to the North"
        assert blue[:4].mean() > 150 > 50 > blue[12:].mean()


def test_resizing_keeps_the_whole_field_and_does_not_alias():
    checkered = np.where(np.indices((64, 64)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    image = decode_picture(encoded(np.repeat(checkered[..., None], 3, axis=-1)), (3, 16, 16)).image
    assert np.abs(image.astype(int) - 128).max() < 12, "pixels finer than the stored scale average out"
    half = np.zeros((64, 64, 3), dtype=np.uint8)
    half[:, 32:] = 240
    for kind in ("JPEG", "PNG"):
        left, right = np.split(decode_picture(encoded(half, kind), (3, 16, 16)).image[0], 2, axis=1)
        assert left[:, :6].max() < 20
        assert right[:, 2:].min() > 220


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_pixels_are_those_of_pillow_bit_for_bit(subsampling):
    rng = np.random.default_rng(5)
    for (ny, nx), quality, progressive in product([(128, 128), (31, 17)], [30, 75, 95], [False, True]):
        waves = 127 + 80 * np.sin(np.indices((ny, nx)).sum(axis=0) / 5)[..., None] * np.array([1.0, 0.5, -1.0])
        pixels = np.clip(waves + rng.normal(0, 20, (ny, nx, 3)), 0, 255).astype(np.uint8)
        content = encoded(pixels, quality=quality, subsampling=subsampling, progressive=progressive)
        expected = np.asarray(Image.open(io.BytesIO(content)))[::-1].transpose(2, 0, 1)
        np.testing.assert_array_equal(decode_picture(content, (3, ny, nx)).image, expected)


def test_grey_pictures_serve_for_one_band_or_three_and_colour_for_three_alone():
    grey, colour = np.arange(64, dtype=np.uint8).reshape(8, 8), np.zeros((8, 8, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG"):
        one = decode_picture(encoded(grey, kind), (1, 8, 8)).image
        three = decode_picture(encoded(grey, kind), (3, 8, 8)).image
        np.testing.assert_array_equal(three, np.repeat(one, 3, axis=0))
        assert decode_picture(encoded(colour, kind), (1, 8, 8)).reason == "other bands"
    cmyk = io.BytesIO()
    Image.fromarray(colour).convert("CMYK").save(cmyk, format="JPEG")
    assert decode_picture(cmyk.getvalue(), (3, 8, 8)).image.shape == (3, 8, 8)


def test_a_transparent_pixel_is_masked_or_nan(tmp_path):
    rgba = np.full((8, 8, 4), 255, dtype=np.uint8)
    rgba[0, 2] = 0  # in the top row
    files = archive(tmp_path, {"a.parquet": ["1", "2", "3"]}, image=[flat(10), encoded(rgba, "PNG"), flat(30)])
    survey, source, table = opened(card({}), files)
    first, masked, last = survey.cutouts(source, table)
    assert isinstance(masked, Cutout)
    assert np.argwhere(masked.mask).tolist() == [[7, 2]]
    assert levels([first, last]) == [10, 30]
    survey_card = card({}).model_copy(
        update={"products": {"p": card({}).products["parquet"].model_copy(update={"dtype": "float32"})}}
    )
    survey, source, table = opened(survey_card, files)
    first, masked, last = survey.cutouts(source, table)
    assert first.images.dtype == masked.image.dtype == np.float32
    assert np.argwhere(np.isnan(masked.image)).tolist() == [[band, 7, 2] for band in range(3)]


def test_a_forged_size_is_refused_before_it_is_decoded():
    content = bytearray(flat(10, size=16))
    place = content.index(b"\xff\xc0") + 5  # height and width stand five bytes behind the start of the frame
    content[place : place + 4] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    assert decode_picture(bytes(content), (3, 8, 8)).reason == "too large"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_memory_does_not_grow_with_the_row_group(tmp_path):
    noise = np.random.default_rng(0).bytes(5_000)
    images = [flat(level) + noise for level in range(10)] * 1200  # what follows a picture is not read
    options = {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", **options)
    survey, source, table = opened(card({}), tmp_path)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = 0
    for _ in survey.cutouts(source, table):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 20e6 < sum(map(len, images))


def test_a_mock_archive_is_written_in_the_form_of_the_card(tmp_path):
    survey = Survey(card({"image": "jpeg", "split_from_name": True}, shape=(3, 32, 32), splits={"scheme": "published"}))
    survey.mock(12, 0, tmp_path / "mock")
    assert json.loads((tmp_path / "mock" / "MOCK.json").read_text()) == {"survey": "my-pictures", "n": 12, "seed": 0}
    names = sorted(path.name for path in (tmp_path / "mock").glob("*.parquet"))
    assert names == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    assert ingest(survey, tmp_path / "mock", tmp_path / "mock.zarr")["num_cutouts"] == 12
    with pytest.raises(DataError, match="must leave room"):
        Survey(card({"split_from_name": True}, pattern="all.parquet")).mock(3, 0, tmp_path / "other")


CARD_FILE_TASK = [{"name": "t", "title": "t", "column": "label", "classes": {"elliptical": [1], "spiral": [2]}}]


class TestPicturesFromACard(SurveyTests):
    """A card with a ``pictures`` section keeps the contract of every survey."""

    @pytest.fixture(scope="class")
    @classmethod
    def the_survey(cls):
        return Survey(card({"columns": {"label": "kind"}}, shape=(3, 24, 24), tasks=CARD_FILE_TASK))

    survey = "my-pictures.yaml"


def test_real_galaxies_are_ingested_from_a_card_alone(data_dir, tmp_path):
    """Galaxy Zoo 1: 6664 galaxies; the first 700 and the last 700 here."""
    classes = {"elliptical": [0], "spiral": [1, 2], "edge-on": [3]}
    task = {"name": "shape", "title": "Shape", "column": "label", "classes": classes}
    survey_card = card(
        {"image": "jpeg", "columns": {"label": "class"}}, shape=(3, 128, 128), pattern="gz1*.parquet", tasks=[task]
    )
    survey, source, table = opened(survey_card, data_dir / "gz1-sdss")
    assert len(table) == 6664
    assert Counter(map(str, table["class_name"]))["elliptical"] == 4645
    rows = table[np.r_[0:700, 5964:6664]]
    images = np.concatenate([part.images for part in survey.cutouts(source, rows)])
    assert images.shape == (1400, 3, 128, 128)
    contents = pq.read_table(source.files[0], columns=["jpeg"]).column(0)
    for place, row in ((3, 3), (1399, 6663)):
        pillow = np.asarray(Image.open(io.BytesIO(contents[row].as_py())))
        np.testing.assert_array_equal(images[place], pillow[::-1].transpose(2, 0, 1))
    middle, corner = images[:, :, 56:72, 56:72].mean(), images[:, :, :16, :16].mean()
    assert middle > 2 * corner, "the galaxies are in the middle"


def test_real_rings_become_a_store_half_the_size(data_dir, tmp_path):
    task = {"name": "ring", "title": "Ring", "column": "ring", "classes": {"ring": [1], "none": [0]}}
    survey_card = card({"image": "jpeg"}, shape=(3, 128, 128), pattern="gz_rings*.parquet", tasks=[task])
    info = ingest(Survey(survey_card), data_dir / "gz-rings", tmp_path / "rings.zarr")
    assert info["num_cutouts"] == 470
    store = CutoutStore.open(tmp_path / "rings.zarr")
    assert np.bincount(task_labels(store.catalog, store.card.tasks[0])).tolist() == [235, 235]
    assert store.shape[1:] == (3, 128, 128)
