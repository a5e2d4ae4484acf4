"""Votes in the tables of archives, held against the schema of their campaign."""

import warnings
from importlib.resources import files

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from astrofm.data.catalog import Catalog
from astrofm.data.labels import check_labels, task_labels
from astrofm.data.tables import read_table
from astrofm.data.votes import vote_counts
from astrofm.errors import DataError, RecipeError
from astrofm.schema import Question, VoteSchema
from astrofm.survey import Survey, find_source

SCHEMA = VoteSchema(
    name="two-questions",
    source="made for this test",
    campaign="-t1",
    questions=(
        Question(name="smooth-t1", answers=("yes", "no", "star_or_artifact")),
        Question(name="bar-t1", answers=("yes", "no"), asked_after="smooth-t1_no"),
    ),
)
COUNTS = {
    "smooth-t1_yes": [3, 0],
    "smooth-t1_no": [1, 5],
    "smooth-t1_star_or_artifact": [0, 0],
    "bar-t1_yes": [1, np.nan],
    "bar-t1_no": [0, np.nan],
}


def counted(columns):
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    return vote_counts(arrays, SCHEMA, ["a", "b"], "the table")


def plain(columns):
    return {name: values.tolist() for name, values in counted(columns).items()}


def without(name, columns=COUNTS):
    return {key: values for key, values in columns.items() if key != name}


EXPECTED = {name: np.nan_to_num(values).astype(int).tolist() for name, values in COUNTS.items()}


def test_counts_are_whole_numbers_and_missing_is_zero():
    found = counted(COUNTS)
    assert plain(COUNTS) == EXPECTED
    assert {values.dtype for values in found.values()} == {np.dtype("int32")}
    assert list(found) == list(SCHEMA.columns)


def test_the_tables_of_one_campaign_may_leave_out_its_ending():
    assert plain({name.replace("-t1", ""): values for name, values in COUNTS.items()}) == EXPECTED
    with pytest.raises(ValueError, match="question 'bar-t1' does not end in '-t2', the campaign"):
        VoteSchema(name="s", source="", campaign="-t2", questions=(Question(name="bar-t1", answers=("yes", "no")),))


@pytest.mark.parametrize(("fraction", "total"), [("_fraction", "_total-votes"), ("_frac", "_total")])
def test_fractions_and_totals_give_the_counts(fraction, total):
    columns = {"smooth-t1" + total: [4, 5], "bar-t1" + total: [1, 0]}
    for name, values in COUNTS.items():
        of = np.array(columns[name.split("_")[0] + total])
        columns[name + fraction] = np.round(np.array(values) / np.maximum(of, 1), 3)
    assert plain(columns) == EXPECTED


@given(st.lists(st.integers(0, 99), min_size=3, max_size=3), st.integers(3, 6))
def test_rounded_fractions_always_give_the_counts_back(votes, digits):
    total = sum(votes)
    columns = {"smooth_total-votes": [total, total]}
    for answer, count in zip(SCHEMA.questions[0].answers, votes, strict=True):
        columns[f"smooth_{answer}_fraction"] = [round(count / total, digits) if total else np.nan] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the other question
        found = counted(columns)
    assert [found[name][0] for name in SCHEMA.questions[0].columns] == votes


def test_fractions_that_are_no_shares_of_the_votes_are_named():
    columns = {"smooth-t1_total-votes": [10, 10]} | {f"{name}_fraction": [0.3, 0.3] for name in SCHEMA.columns[:3]}
    columns["smooth-t1_no_fraction"] = [0.3, 0.3542]
    with pytest.raises(
        DataError, match=r"'smooth-t1_no_fraction' holds 0\.3542 for 'b', which is no share of the votes"
    ):
        counted(columns | {name: COUNTS[name] for name in SCHEMA.columns[3:]})


def test_fractions_without_a_total_are_no_votes():
    fractions = {f"{name}_fraction": [0.5, 0.5] for name in SCHEMA.columns[3:]}
    with pytest.warns(UserWarning, match="nobody was asked these questions of 'two-questions'.*: bar-t1$"):
        assert plain({name: COUNTS[name] for name in SCHEMA.columns[:3]} | fractions)["bar-t1_yes"] == [0, 0]


def test_a_question_with_only_some_of_its_columns_is_refused():
    with pytest.raises(DataError, match="the table lacks bar-t1_no, which 'two-questions' needs"):
        counted(without("bar-t1_no"))


def test_a_question_nobody_was_asked_is_named_and_has_no_votes():
    with pytest.warns(UserWarning, match="nobody was asked these questions of 'two-questions' in the table.*: bar-t1$"):
        assert plain(without("bar-t1_no", without("bar-t1_yes")))["bar-t1_yes"] == [0, 0]


def test_an_answer_the_schema_does_not_know_is_named():
    more = {"smooth_maybe": [1, 2], "smooth_yes_debiased": [0.4, 0.1], "smooth-t1_total-votes": [9, 9], "mag_r": [1, 2]}
    with pytest.warns(UserWarning, match="'two-questions' does not know these answers.*: smooth_maybe$"):
        assert plain(COUNTS | more) == EXPECTED


def test_a_table_of_another_campaign_is_refused():
    with pytest.raises(DataError, match="no vote column of 'two-questions', such as 'smooth-t1_yes'; it has ring_yes"):
        counted({"ring_yes": [1, 1]})


@pytest.mark.parametrize("bad", [-1, 0.5])
def test_a_vote_that_is_no_count_is_refused(bad):
    with pytest.raises(DataError, match=f"column 'smooth-t1_no' holds {bad:g} for 'b', which is no number of votes"):
        counted(COUNTS | {"smooth-t1_no": [1, bad]})


def test_answers_that_exceed_their_total_are_refused():
    with pytest.raises(DataError, match="the answers of 'b' add up to 5 votes, and 'smooth-t1_total-votes' gives 4"):
        counted(COUNTS | {"smooth-t1_total-votes": [4, 4]})


def real(data_dir, file, id_column):
    table = read_table(data_dir / "gz-votes" / file, text=(id_column,))
    table.rename_column(id_column, "id_str")
    for name in ("ra", "dec"):
        if name not in table.colnames:
            table[name] = np.nan
    return Catalog.from_astropy(table)


def schema_named(name):
    return VoteSchema.from_yaml(files("astrofm_galaxyzoo") / "cards" / "schemas" / f"{name}.yaml")


def test_the_published_counts_of_1618_galaxies_follow_from_their_fractions(data_dir):
    catalog = real(data_dir, "gz_decals_votes_1618.csv", "subject_id")
    schema = schema_named("gz-decals-dr5")
    with pytest.warns(UserWarning, match=r"does not know these answers.*merging_both-v1, merging_neither-v1"):
        by_count = check_labels(catalog, schema)
    counts = {name.replace("-dr5", "") for name in schema.columns}
    fractions_alone = Catalog(catalog.table.drop_columns(sorted(counts)))
    with pytest.warns(UserWarning, match="does not know these answers"):
        by_fraction = check_labels(fractions_alone, schema)
    for name in schema.columns:
        np.testing.assert_array_equal(by_count.column(name), by_fraction.column(name))
    assert by_count.column("smooth-or-featured-dr5_smooth").sum() == catalog.column("smooth-or-featured_smooth").sum()


@pytest.mark.parametrize(
    ("file", "name", "num_votes"),
    [("gz_decals_volunteers_5.csv", "gz-decals-dr5", 641), ("gz_decals_volunteers_1_and_2.csv", "gz-decals-dr12", 808)],
)
def test_published_tables_are_read_by_the_schema_of_their_campaign(data_dir, file, name, num_votes):
    schema = schema_named(name)
    catalog = check_labels(real(data_dir, f"galaxy_zoo_decals/{file}", "iauname"), schema)
    assert sum(catalog.column(column).sum() for column in schema.columns) == num_votes
    assert np.isfinite(catalog.column("z_spec")).any(), "the column 'redshift' is understood"


def test_published_tables_of_another_campaign_are_refused(data_dir):
    other = real(data_dir, "galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv", "iauname")
    with pytest.raises(DataError, match=r"lacks bar_strong, bar_weak, .*choose the schema it was made by"):
        check_labels(other, schema_named("gz-decals-dr5"))
    predicted = real(data_dir, "galaxy_zoo_decals/gz_decals_auto_posteriors.csv", "iauname")
    with pytest.raises(DataError, match="no vote column of 'gz-decals-dr5'"):
        check_labels(predicted, schema_named("gz-decals-dr5"))


def test_galaxy_zoo_2_needs_its_columns_mapped(data_dir):
    catalog = real(data_dir, "galaxy_zoo_2/gz2_hart16.csv", "dr7objid")
    with pytest.raises(DataError, match="no vote column of 'gz2', such as 'smooth-or-featured-gz2_smooth'"):
        check_labels(catalog, schema_named("gz2"))
    task = VoteSchema(name="gz2-bars", source="", questions=(Question(name="bar-gz2", answers=("yes", "no")),))
    mapped = catalog.with_columns(
        {
            "bar-gz2_yes": catalog.column("t03_bar_a06_bar_count"),
            "bar-gz2_no": catalog.column("t03_bar_a07_no_bar_count"),
        }
    )
    assert check_labels(mapped, task).column("bar-gz2_no").max() > 0


def test_a_schema_file_with_a_wrong_campaign_is_one_sentence(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "name: s\nsource: none\ncampaign: -x\nquestions: [{name: bar, answers: ['yes', 'no']}]\n"
    )
    with pytest.raises(RecipeError, match="does not end in '-x'"):
        VoteSchema.from_yaml(tmp_path / "s.yaml")


def test_a_mock_of_a_card_alone_has_a_column_for_every_answer_of_its_schema(tmp_path, write_card):
    schema = VoteSchema(
        name="small",
        source="made for this test",
        questions=(
            Question(name="shape", answers=("smooth", "disk", "star")),
            Question(name="bar", answers=("yes", "no"), asked_after="shape_disk"),
        ),
    )
    task = {"name": "t", "title": "T", "question": "shape", "classes": {"smooth": ["smooth"], "disk": ["disk"]}}
    card = write_card(tmp_path / "card.yaml", votes="small", tasks=[{**task, "min_votes": 5}])
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "small.yaml").write_text(yaml.safe_dump(schema.model_dump(mode="json")), encoding="utf-8")
    survey = Survey.from_yaml(card)
    rows = survey.catalog(find_source(survey.card, survey.mock(8, 0, tmp_path / "archive")))
    catalog = check_labels(Catalog.from_astropy(rows), survey.votes)
    assert set(schema.columns) <= set(catalog.columns)
    assert set(task_labels(catalog, survey.card.tasks[0], survey.votes).tolist()) == {0, 1}
    assert catalog.column("bar_yes").sum() == 0
