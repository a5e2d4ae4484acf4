import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.splits import SPLITS, assign_splits, split_of
from astrofm.errors import DataError, UnknownNameError


def catalog(ids, **columns):
    zero = np.zeros(len(ids))
    return Catalog.from_astropy(Table({"id_str": ids, "ra": zero, "dec": zero} | columns))


@settings(deadline=None)
@given(st.sets(st.text(alphabet="abcdef0123456789", min_size=1), min_size=2), st.floats(0.01, 0.99))
def test_the_split_of_an_object_depends_on_its_id_alone(ids, test_fraction):
    ids = sorted(ids)
    splits = Splits(scheme="by-id", test_fraction=test_fraction)
    together = dict(zip(ids, assign_splits(catalog(ids), splits), strict=True))
    alone = {name: assign_splits(catalog([name]), splits)[0] for name in reversed(ids)}
    assert together == alone
    assert set(together.values()) <= {"train", "test"}


@given(st.text(), st.floats(0.01, 0.98))
def test_a_larger_test_fraction_only_adds_to_the_test_split(id_str, fraction):
    if split_of(id_str, fraction) == "test":
        assert split_of(id_str, fraction + 0.01) == "test"


def test_every_class_is_divided_in_the_same_proportion():
    ids = [f"J{number:06d}" for number in range(20_000)]
    label = np.arange(len(ids)) % 10 == 0
    is_test = assign_splits(catalog(ids), Splits(scheme="by-id", test_fraction=0.2)) == "test"
    for members in (label, ~label):
        assert is_test[members].mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / members.sum()))


def test_the_split_of_an_id_stays_what_it_was():
    assert [split_of(name, 0.5) for name in ("a", "b", "c", "d", "e", "f")] == GOLDEN


GOLDEN = ["train", "train", "train", "train", "test", "train"]
# python -c "from astrofm.data.splits import split_of; print([split_of(c, 0.5) for c in 'abcdef'])"


GOLDEN_SPLITS = {
    ("by-id", ""): "-vt--tvttttt-vtt-t--tv-ttv-vvtt-v--t----",
    ("sky", ""): "vt---t-vvt--v-t------v-tt---vt----------",
    ("stratified", "kind"): "--t--vvttttv-vtt-t--t--vtv--vtt-v-vt----",
    ("stratified", "count"): "-vt---tt-tt--ttt-tv-vv--tv-vttt-v--v----",
}
# What astrofm drew before it went through a catalogue by blocks of rows: v is val, t is test.


@pytest.mark.parametrize(("scheme", "column"), GOLDEN_SPLITS)
def test_the_splits_of_a_catalogue_stay_what_they_were(scheme, column, monkeypatch):
    monkeypatch.setattr("astrofm.data.text.BLOCK_ROWS", 7)
    rows = np.arange(40)
    is_placeless = rows % 5 == 4
    drawn_from = Catalog.from_astropy(
        Table(
            {
                "id_str": [f" J\u00e9{row:03d}" for row in rows],
                "ra": np.where(is_placeless, np.nan, rows * 9.0),
                "dec": np.where(is_placeless, np.nan, rows - 20.0),
                "kind": MaskedColumn([("FRI", "FRII", "", "hybrid")[row % 4] for row in rows], mask=rows % 11 == 3),
                "count": MaskedColumn(rows % 3, mask=rows % 13 == 6),
            }
        )
    )
    extra = {"column": column} if column else {"healpix_order": 3} if scheme == "sky" else {}
    drawn = assign_splits(drawn_from, Splits(scheme=scheme, test_fraction=0.3, val_fraction=0.2, **extra))
    assert "".join({"train": "-", "val": "v", "test": "t"}[name] for name in drawn) == GOLDEN_SPLITS[scheme, column]


def test_a_bad_published_split_far_below_is_named_by_its_own_id(monkeypatch):
    monkeypatch.setattr("astrofm.data.text.BLOCK_ROWS", 2)
    given_catalog = catalog(["a", "b", "c", "d"], split=["train", "valid", "TEST ", "Holdout"])
    with pytest.raises(DataError, match="split of 'd' is 'Holdout'"):
        assign_splits(given_catalog, Splits(scheme="published"))


def test_published_splits_are_kept_and_spelt_our_way():
    given_catalog = catalog(["a", "b", "c", "d"], split=["train", "valid", "TEST ", "validation"])
    assert assign_splits(given_catalog, Splits(scheme="published")).tolist() == ["train", "val", "test", "val"]


def test_a_published_split_that_is_none_is_refused():
    with pytest.raises(DataError, match="no 'split' column"):
        assign_splits(catalog(["a"]), Splits(scheme="published"))
    with pytest.raises(DataError, match="split of 'b' is 'holdout'"):
        assign_splits(catalog(["a", "b"], split=["train", "holdout"]), Splits(scheme="published"))
    with pytest.raises(UnknownNameError, match=r"'publised'.*did you mean 'published'"):
        assign_splits(catalog(["a"]), Splits(scheme="publised"))


DRAWN = [
    Splits(scheme="by-id", test_fraction=0.3, val_fraction=0.2),
    Splits(scheme="sky", test_fraction=0.3, val_fraction=0.2, healpix_order=3),
    Splits(scheme="stratified", test_fraction=0.3, val_fraction=0.2, column="label"),
]


def sky_catalog(num, seed=0, **columns):
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, num), np.degrees(np.arcsin(rng.uniform(-1, 1, num)))
    label = rng.choice([0, 1, 2], num, p=[0.7, 0.25, 0.05])
    ids = [f"J{number:05d}" for number in rng.permutation(num)]
    return Catalog.from_astropy(Table({"id_str": ids, "ra": ra, "dec": dec, "label": label} | columns))


@pytest.mark.parametrize("splits", DRAWN, ids=lambda splits: splits.scheme)
@settings(deadline=None, max_examples=25)
@given(num=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_a_drawn_split_does_not_depend_on_the_order_of_the_rows(splits, num, seed):
    drawn_from = sky_catalog(num, seed)
    shuffled = np.random.default_rng(seed).permutation(num)
    drawn = assign_splits(drawn_from, splits)
    assert set(drawn) <= set(SPLITS)
    assert assign_splits(drawn_from.take(shuffled), splits).tolist() == drawn[shuffled].tolist()


@pytest.mark.parametrize("splits", DRAWN, ids=lambda splits: splits.scheme)
def test_each_split_gets_its_fraction(splits):
    drawn = assign_splits(sky_catalog(30_000), splits)
    num_drawn = 768 if splits.scheme == "sky" else 30_000  # the 768 cells of order 3 are drawn, not the rows
    for name, fraction in (("test", 0.3), ("val", 0.2), ("train", 0.5)):
        # Rows vary among blocks by Poisson, which is small beside the draw of the blocks.
        expected = pytest.approx(fraction, abs=4 * np.sqrt(fraction * (1 - fraction) / num_drawn))
        assert (drawn == name).mean() == expected


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.sampled_from(["FRI", "FRII", "", "hybrid"]), min_size=1, max_size=80),
    fractions=st.tuples(st.floats(0.05, 0.45), st.floats(0.0, 0.45)),
)
def test_a_stratified_split_gives_each_class_its_exact_share(labels, fractions):
    test, val = fractions
    splits = Splits(scheme="stratified", column="kind", test_fraction=test, val_fraction=val)
    drawn = assign_splits(catalog([f"s{i}" for i in range(len(labels))], kind=labels), splits)
    for kind in set(labels):
        members = drawn[np.array(labels) == kind]
        assert abs((members == "test").sum() - test * len(members)) <= 0.5 + 1e-9
        assert abs((members != "train").sum() - (test + val) * len(members)) <= 0.5 + 1e-9


def test_rows_without_a_label_are_a_class_of_their_own():
    label = np.ma.masked_array([1] * 10 + [0] * 10, [False] * 10 + [True] * 10)
    splits = Splits(scheme="stratified", column="label", test_fraction=0.3)
    drawn = assign_splits(catalog([f"s{i}" for i in range(20)], label=label), splits)
    assert [(drawn[rows] == "test").sum() for rows in (slice(0, 10), slice(10, 20))] == [3, 3]


def test_measurements_are_no_classes():
    splits = Splits(scheme="stratified", column="z_spec")
    with pytest.raises(DataError, match=r"'z_spec' holds measurements such as 0.25, which are no classes"):
        assign_splits(catalog(["a", "b"], z_spec=[1.0, 0.25]), splits)
    with pytest.raises(DataError, match="no column 'z_spec'"):
        assign_splits(catalog(["a", "b"]), splits)


@settings(deadline=None, max_examples=20)
@given(order=st.integers(0, 8), seed=st.integers(0, 2**32))
def test_a_block_of_the_sky_is_never_divided(order, seed):
    from astropy_healpix import lonlat_to_healpix

    drawn_from = sky_catalog(400, seed)
    ra, dec = (drawn_from.column(name) * u.deg for name in ("ra", "dec"))
    blocks = lonlat_to_healpix(ra, dec, 2**order, order="nested")
    drawn = assign_splits(drawn_from, Splits(scheme="sky", healpix_order=order, val_fraction=0.2))
    assert all(len(set(drawn[blocks == block])) == 1 for block in np.unique(blocks))


def test_a_row_never_changes_sides_when_the_sky_around_it_fills_up():
    whole = sky_catalog(2000)
    splits = Splits(scheme="sky", healpix_order=2)
    np.testing.assert_array_equal(assign_splits(whole, splits)[:50], assign_splits(whole.take(range(50)), splits))


def test_a_row_without_a_position_is_drawn_by_its_id():
    ids = [f"s{i}" for i in range(30)]
    nowhere = Catalog.from_astropy(Table({"id_str": ids, "ra": np.full(30, np.nan), "dec": np.full(30, np.nan)}))
    by_id = assign_splits(nowhere, Splits(scheme="by-id"))
    assert assign_splits(nowhere, Splits(scheme="sky")).tolist() == by_id.tolist()
    assert set(by_id) == {"train", "test"}


@pytest.mark.parametrize(
    ("given_keys", "sentence"),
    [
        ({"scheme": "by-id", "test_fraction": 0.5, "val_fraction": 0.5}, "leave nothing to train on"),
        ({"scheme": "stratified"}, "needs 'column'"),
        ({"scheme": "sky", "column": "label"}, "'stratified', and no other, needs 'column'"),
        ({"scheme": "published", "val_fraction": 0.1}, "published splits are kept as they are"),
        ({"scheme": "by-id", "healpix_order": 3}, "'by-id' has no use for healpix_order"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(given_keys, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Splits(**given_keys)


def test_a_card_may_say_what_its_catalogue_calls_the_splits():
    found = catalog(["a", "b", "c", "d"], split=["calib", "Science", "test", "valid"])
    rule = Splits(scheme="published", words={"train": ("calib",), "test": ("science",)})
    assert assign_splits(found, rule).tolist() == ["train", "test", "test", "val"]
    with pytest.raises(DataError, match=r"is 'calib'; it must be one of .* words: \{test: \[calib\]\}"):
        assign_splits(found, Splits(scheme="published"))
    with pytest.raises(ValidationError, match="'by-id' has no use for words"):
        Splits(scheme="by-id", words={"train": ("calib",)})
