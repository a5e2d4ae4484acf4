import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.card import ClassTask, SurveyCard, VoteTask
from astrofm.data.catalog import Catalog
from astrofm.data.labels import check_labels, draw_labels, task_labels, unanswered
from astrofm.errors import DataError
from astrofm.schema import Question, VoteSchema


def catalog(**columns):
    n = len(next(iter(columns.values())))
    return Catalog.from_astropy(
        Table({"id_str": [str(i) for i in range(n)], "ra": np.zeros(n), "dec": np.zeros(n)} | columns)
    )


FR = ClassTask(name="fr", title="FR class", column="label", classes={"fr1": (0, 1), "fr2": (5,)})


def test_rows_of_other_classes_are_not_part_of_the_task():
    assert task_labels(catalog(label=[5, 0, 3, 1]), FR).tolist() == [1, 0, -1, 0]
    masked = catalog(label=MaskedColumn([5, 0], mask=[True, False]))
    assert task_labels(masked, FR).tolist() == [-1, 0]


def test_labels_may_be_text():
    task = ClassTask(name="t", title="t", column="kind", classes={"ring": ("ring",), "number": (7,)})
    assert task_labels(catalog(kind=["ring", "7", "other", ""]), task).tolist() == [0, 1, -1, -1]
    with pytest.raises(DataError, match=r"text 'ring'.*holds numbers"):
        task_labels(catalog(kind=[1, 2]), task)


def test_a_class_task_that_cannot_be_answered_is_refused():
    with pytest.raises(DataError, match="no column 'label'"):
        task_labels(catalog(kind=["a"]), FR)
    twice = ClassTask(name="t", title="t", column="label", classes={"a": (1,), "b": (1,)})
    with pytest.raises(DataError, match="gives 1 to both 'a' and 'b'"):
        task_labels(catalog(label=[1]), twice)


SHAPE = VoteTask(
    name="shape", title="Shape", question="shape", classes={"smooth": ("smooth",), "disk": ("disk", "edge")}
)
VOTES = {
    "shape_smooth": [6, 4, 5, 0, 2, 4],
    "shape_disk": [2, 3, 5, 0, 0, 3],
    "shape_edge": [1, 3, 0, 0, 0, 0],
    "shape_artifact": [1, 0, 0, 0, 0, 3],
}


def test_labels_that_differ_from_those_of_a_class_in_their_spelling_alone_are_told(card_with):
    found = catalog(kind=["FR II", "FR ii", "FR-II", "FR ii", "FR I", "hybrid", "", "-"])
    told = unanswered(found, card_with("kind", {"FRI": ["FR I"], "FRII": ["FR II"]}))
    assert told == [
        f"task 't' leaves out the {num} rows whose 'kind' is {value!r}, and takes 'FR II': "
        "if they are the same, write both under 'classes' of the card"
        for num, value in ((2, "FR ii"), (1, "FR-II"))
    ]
    assert not unanswered(found, card_with("kind", {"FRI": ["FR I"], "FRII": ["FR II", "FR ii", "FR-II"]}))


def test_the_majority_answer_is_the_class():
    # clear; the two disk answers together; a tie; nobody asked; few votes; most but less than half
    assert task_labels(catalog(**VOTES), SHAPE).tolist() == [0, 1, -1, -1, 0, -1]
    assert task_labels(catalog(**VOTES), SHAPE.model_copy(update={"min_votes": 3})).tolist() == [0, 1, -1, -1, -1, -1]
    assert task_labels(catalog(**VOTES), SHAPE.model_copy(update={"min_fraction": 0.61})).tolist()[:2] == [-1, -1]


def test_totals_and_fractions_beside_the_counts_are_no_answers():
    more = VOTES | {"shape_total-votes": [99] * 6, "shape_smooth_fraction": [0.5] * 6}
    schema = VoteSchema(
        name="s", source="", questions=(Question(name="shape", answers=("smooth", "disk", "edge", "artifact")),)
    )
    expected = task_labels(catalog(**VOTES), SHAPE)
    np.testing.assert_array_equal(task_labels(catalog(**more), SHAPE), expected)
    np.testing.assert_array_equal(task_labels(catalog(**more), SHAPE, schema), expected)


def test_votes_that_are_not_there_are_named():
    absent = {name: counts for name, counts in VOTES.items() if name != "shape_edge"}
    with pytest.raises(DataError, match="'shape_edge'"):
        task_labels(catalog(**absent), SHAPE)


label_sets = st.lists(st.integers(-1, 5), min_size=1, max_size=300).filter(lambda drawn: max(drawn) >= 0)


@settings(deadline=None)
@given(label_sets, st.integers(0, 2**31), st.data())
def test_draws_are_nested_stratified_and_without_duplicates(drawn_labels, seed, data):
    labels = np.array(drawn_labels)
    available = int((labels >= 0).sum())
    num = data.draw(st.integers(1, available))
    fewer = data.draw(st.integers(1, num))
    rows = draw_labels(labels, num, seed)
    assert len(set(rows.tolist())) == num
    assert (labels[rows] >= 0).all()
    np.testing.assert_array_equal(draw_labels(labels, fewer, seed), rows[:fewer])
    for label in range(6):
        share = num * (labels == label).sum() / available
        assert abs((labels[rows] == label).sum() - share) < 1


def test_the_draw_depends_on_labels_and_seed_alone():
    labels = np.arange(400) % 3
    np.random.seed(1)  # noqa: NPY002 - shows that the global generator plays no part
    first = draw_labels(labels, 145, seed=3)
    np.testing.assert_array_equal(draw_labels(labels.copy(), 145, seed=3), first)
    assert set(draw_labels(labels, 145, seed=4)) != set(first)


def test_asking_for_more_than_there_are_says_how_many_there_are():
    labels = np.where(np.arange(1000) < 729, 1, -1)
    with pytest.raises(DataError, match=r"asked for 1000 labels; the training split of task 'fr' has 729"):
        draw_labels(labels, 1000, 0, of="the training split of task 'fr'")
    with pytest.raises(DataError, match="asked for 0 labels"):
        draw_labels(labels, 0, 0)
    assert len(draw_labels(labels, 729, 0)) == 729


def with_units(units=None, **columns):
    n = len(next(iter(columns.values())))
    table = Table({"id_str": [f"s{i}" for i in range(n)], "ra": np.zeros(n), "dec": np.zeros(n)} | columns)
    for name, unit in (units or {}).items():
        table[name].unit = unit
    return Catalog.from_astropy(table)


@pytest.mark.parametrize("name", ["redshift", "z", "Z", "specz", "Spec_Z", "zspec", "Z_SPEC"])
def test_redshifts_are_understood_by_their_usual_names(name):
    assert with_units(**{name: [0.1, 0.2]}).column("z_spec").tolist() == [0.1, 0.2]


@pytest.mark.parametrize("name", ["Z_ERR", "e_z", "redshift_err", "zErr"])
def test_redshift_errors_are_too(name):
    found = with_units(redshift=[0.1], **{name: [0.01]})
    assert found.column("z_err").tolist() == [0.01]


def test_z_beside_other_bands_is_a_magnitude():
    found = with_units(g=[17.0], r=[16.5], z=[16.0], z_err=[0.1], redshift=[0.1])
    assert found.column("z_spec").tolist() == [0.1]
    assert found.column("z").tolist() == [16.0]


def test_two_redshifts_are_refused_unless_one_has_the_name():
    with pytest.raises(DataError, match="'redshift' and 'specz' could both be 'z_spec'"):
        with_units(redshift=[0.1], specz=[0.1])
    assert with_units(z_spec=[0.3], redshift=[0.1]).column("z_spec").tolist() == [0.3]


def test_angular_sizes_come_in_arcsec_if_their_unit_is_known():
    assert with_units({"LAS": "arcmin"}, LAS=[2.0]).column("las_arcsec").tolist() == [120.0]
    assert with_units({"size_arcsec": "deg"}, size_arcsec=[0.5]).column("size_arcsec").tolist() == [1800.0]
    assert "las_arcsec" not in with_units(LAS=[2.0]).columns
    with pytest.raises(DataError, match="'size_arcsec' in 'Jy' cannot be read as arcsec"):
        with_units({"size_arcsec": "Jy"}, size_arcsec=[0.5])


@pytest.mark.parametrize(
    ("column", "bad"), [("z_spec", -999.0), ("z_spec", -1.0), ("z_err", -9.0), ("las_arcsec", -1.0), ("z_phot", -99.0)]
)
def test_marks_for_missing_labels_are_refused(column, bad):
    with pytest.raises(
        DataError, match=f"column '{column}' holds {bad:g} for 's1', which it cannot be: leave the entry"
    ):
        check_labels(with_units(**{column: [0.01, bad]}))
    good = with_units(**{column: [0.01, np.nan]})
    assert check_labels(good) is good


def test_a_label_of_text_is_refused():
    with pytest.raises(DataError, match="column 'z_spec' of the catalogue holds no numbers"):
        check_labels(with_units(z_spec=["0.1?"]))


def test_votes_of_a_catalogue_are_completed():
    schema = VoteSchema(name="s", source="", questions=(Question(name="bar", answers=("yes", "no")),))
    masked = with_units(**{"bar_yes": MaskedColumn([3, 0], mask=[False, True]), "bar_no": [1, 0]})
    found = check_labels(masked, schema)
    assert found.column("bar_yes").tolist() == [3, 0]
    assert found.column("bar_yes").dtype == np.int32


@pytest.mark.parametrize("stray", [[0.9, 0.1, 0.5], ["smooth", "smooth", "disk"]])
def test_without_a_schema_a_column_that_holds_no_votes_is_not_counted_as_an_answer(stray):
    task = VoteTask(name="t", title="T", question="shape", classes={"smooth": ("smooth",), "disk": ("disk",)})
    votes = {"shape_smooth": [5, 1, 3], "shape_disk": [1, 5, 2]}
    assert task_labels(catalog(**votes), task).tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="'shape_prediction' among the answers to 'shape', and it holds no numbers"):
        task_labels(catalog(**votes, shape_prediction=stray), task)


@pytest.fixture
def card_with(write_card, tmp_path):
    def make(column, classes, **columns):
        task = {"name": "t", "title": "T", "column": column, "classes": classes}
        folder = {"table": "table.csv", "columns": columns}
        return SurveyCard.from_yaml(write_card(tmp_path / "card.yaml", tasks=[task], folder=folder))

    return make


def test_a_class_that_no_row_belongs_to_is_told(card_with):
    found = catalog(label=["so-so", "boring", "boring", ""])
    assert unanswered(found, card_with("label", {"dull": ["boring"], "unsure": ["so-so"]})) == []
    (told,) = unanswered(found, card_with("label", {"dull": ["boring"], "unsure": ["so so"]}))
    assert told == (
        "task 't' has classes without any row (unsure: 'so so'): column 'label' has 'boring' (2), 'so-so' (1), '' (1)"
    )
    assert unanswered(found, card_with("label", {"dull": ["boring"], "unsure": ["so so"]}), may_lack_labels=True)


def test_a_sample_may_lack_a_class_where_the_card_knows_every_label(card_with):
    found, card = catalog(label=["dull", "dull"]), card_with("label", {"a": ["dull"], "b": ["bright"]})
    assert unanswered(found, card, may_lack_labels=True) == []
    assert unanswered(found, card), "whoever checks the whole archive wants to know"


def test_a_task_on_a_column_that_the_card_calls_otherwise_is_told(card_with):
    found = catalog(label=[0, 1])
    (told,) = unanswered(found, card_with("verdict", {"a": [0], "b": [1]}, label="verdict"))
    assert told == "task 't' takes its labels from column 'verdict', and the card maps it to 'label': name another"
    (told,) = unanswered(found, card_with("opinion", {"a": [0], "b": [1]}))
    assert told.endswith("column 'opinion', and there is none: name another")
    assert unanswered(found, card_with("opinion", {"a": [0], "b": [1]}), may_lack_labels=True) == []
