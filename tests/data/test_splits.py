import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from astrofm.card import Splits
from astrofm.data.catalog import Catalog
from astrofm.data.splits import assign_splits, split_of
from astrofm.errors import DataError, UnknownNameError


def catalog(ids, **columns):
    zero = np.zeros(len(ids))
    return Catalog.from_astropy(Table({"id_str": ids, "ra": zero, "dec": zero} | columns))


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
