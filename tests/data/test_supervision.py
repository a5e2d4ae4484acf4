"""Labels of a run: the votes and classes of its stores, row by row."""

import numpy as np
import pytest

from astrofm.data.store import CutoutStore
from astrofm.data.supervision import LabelRequest, is_labelled, read_labels
from astrofm.errors import DataError, UnknownNameError

VOTES = LabelRequest("votes")


def changed(store, *, votes="as it is", **card):
    """Return the store with another vote schema or with changes to its card."""
    made_from = store.manifest.made_from
    update = {"card": made_from.card.model_copy(update=card)}
    if votes != "as it is":
        update["votes"] = votes
    manifest = store.manifest.model_copy(update={"made_from": made_from.model_copy(update=update)})
    return CutoutStore(store.path, manifest)


def test_the_votes_of_each_row_are_those_of_its_catalogue(mock_stores):
    store = mock_stores["gz-evo"]
    labels, columns = read_labels(VOTES, {"gz-evo": store})
    votes = columns["gz-evo"]
    assert (labels.column, labels.names, labels.questions) == ("votes", store.votes.columns, store.votes.slices)
    assert (votes.shape, votes.dtype) == ((len(store), len(store.votes.columns)), np.int16)
    assert votes.sum() > 0
    for place in (0, 57, len(labels.names) - 1):
        np.testing.assert_array_equal(votes[:, place], store.catalog.column(labels.names[place]))
    assert sum(len(range(*question.indices(len(labels.names)))) for question in labels.questions) == len(labels.names)


def test_a_store_without_a_vote_schema_is_unlabelled_beside_one_with_it(mock_stores):
    labels, columns = read_labels(VOTES, mock_stores)
    assert columns["mirabest"].shape == (len(mock_stores["mirabest"]), len(labels.names))
    assert not is_labelled(columns["mirabest"]).any()
    assert is_labelled(columns["gz-evo"]).any()


def test_an_answer_that_the_catalogue_lacks_has_no_votes(mock_stores):
    store = changed(mock_stores["gz-evo"])
    name = store.votes.columns[3]
    full, kept = store.catalog, read_labels(VOTES, {"gz-evo": store})[1]["gz-evo"]
    store.catalog = type(full)(full.table.drop_columns([name]))
    votes = read_labels(VOTES, {"gz-evo": store})[1]["gz-evo"]
    assert not votes[:, 3].any()
    np.testing.assert_array_equal(np.delete(votes, 3, axis=1), np.delete(kept, 3, axis=1))


def test_counts_beyond_two_bytes_keep_their_value(mock_stores):
    store = changed(mock_stores["gz-evo"])
    many = np.full(len(store), 40_000, dtype=np.int32)
    store.catalog = store.catalog.with_columns({store.votes.columns[1]: many})
    votes = read_labels(VOTES, {"gz-evo": store})[1]["gz-evo"]
    assert (votes[:, 1] == 40_000).all()


def test_two_schemas_are_refused_by_their_names(mock_stores):
    store = mock_stores["gz-evo"]
    other = store.votes.model_copy(update={"name": "other", "questions": store.votes.questions[:3]})
    with pytest.raises(DataError, match=r"'gz-evo' are those of '\S+' and the votes of 'b' those of 'other'"):
        read_labels(VOTES, {"gz-evo": store, "b": changed(store, votes=other)})


def test_votes_are_refused_where_no_store_has_a_schema(mock_stores):
    with pytest.raises(DataError, match="no store of mirabest, mightee has a vote schema"):
        read_labels(VOTES, {name: mock_stores[name] for name in ("mirabest", "mightee")})


def test_classes_of_a_task_are_minus_one_where_a_store_does_not_have_it(mock_stores):
    task = mock_stores["mirabest"].card.tasks[0]
    labels, columns = read_labels(LabelRequest("classes", task.name), mock_stores)
    assert (labels.column, labels.names) == ("label", tuple(task.classes))
    assert set(np.unique(columns["mirabest"])) <= set(range(-1, len(task.classes)))
    assert is_labelled(columns["mirabest"]).any()
    assert not is_labelled(columns["gz-evo"]).any()


def test_an_unknown_task_is_refused_with_those_there_are(mock_stores):
    with pytest.raises(UnknownNameError, match=r"'stars'.*smooth-or-featured"):
        read_labels(LabelRequest("classes", "stars"), mock_stores)


def test_classes_that_differ_between_stores_are_refused(mock_stores):
    store = mock_stores["mirabest"]
    task = store.card.tasks[0]
    turned = task.model_copy(update={"classes": dict(reversed(task.classes.items()))})
    with pytest.raises(DataError, match="give both cards the same classes"):
        read_labels(LabelRequest("classes", task.name), {"a": store, "b": changed(store, tasks=(turned,))})


def test_redshifts_are_those_of_the_catalogue_and_nan_where_a_store_has_none(mock_stores):
    with_redshift = changed(mock_stores["mirabest"])
    given = np.linspace(0.0, 0.3, len(with_redshift))
    given[5] = np.nan
    with_redshift.catalog = with_redshift.catalog.with_columns({"z_spec": given})
    stores = {"mirabest": with_redshift, "gz-evo": mock_stores["gz-evo"]}
    labels, columns = read_labels(LabelRequest("redshift"), stores)
    assert (labels.column, labels.names) == ("z_spec", ("z_spec",))
    np.testing.assert_allclose(columns["mirabest"], given, rtol=1e-6)
    assert is_labelled(columns["mirabest"]).tolist() == [row != 5 for row in range(len(given))]
    assert not is_labelled(columns["gz-evo"]).any()


def test_redshifts_are_refused_where_no_store_has_any(mock_stores):
    with pytest.raises(DataError, match="no store of gz-evo has a column 'z_spec'"):
        read_labels(LabelRequest("redshift"), {"gz-evo": mock_stores["gz-evo"]})
