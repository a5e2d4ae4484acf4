"""Which sources a transfer trains and tests on, and whether an encoder may be fed them."""

from __future__ import annotations

__all__ = [
    "check_contract",
    "check_labels_unseen",
    "check_store",
    "labelled_data",
    "leave_out_test_sources",
    "matching_tasks",
    "num_test_sources",
    "sources_without_place",
    "training_data",
]

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from astrofm.card import ClassTask, SurveyCard, VoteTask
from astrofm.contract import InputContract
from astrofm.data.crossmatch import near
from astrofm.data.labels import MOST_TOLD, task_labels
from astrofm.data.loader import Feed
from astrofm.data.store import CutoutStore
from astrofm.errors import ContractError, DataError, UsageError
from astrofm.model import ModelCard
from astrofm.plan import check_normalisation, field_of_view_arcsec, input_plan, rows_of_splits
from astrofm.transfer.finetune import LabelledData
from astrofm.transfer.tasks import find_task

SAME_SOURCE_ARCSEC = 60.0
"""Separation within which sources of two surveys are taken for one; extended sources have no sharper position."""


def num_test_sources(train_store: CutoutStore, test_store: CutoutStore, task: str | None = None) -> int:
    """Return how many labelled sources a transfer between these stores tests on."""
    test_task, train_task = matching_tasks(test_store.card, train_store.card, task)
    return len(labelled_data(train_store, test_store, train_task, test_task)[1].rows)


def matching_tasks(
    test_card: SurveyCard, train_card: SurveyCard, name: str | None
) -> tuple[ClassTask | VoteTask, ClassTask | VoteTask]:
    """Return the task of the test survey and the one of the training survey that has the same classes.

    Args:
        test_card: Survey to test on.
        train_card: Survey that the labels come from; of its tasks that fit, the one of the same name comes first.
        name: Task of the test survey; None: its first.

    Raises:
        UsageError: If the training survey has no task with these classes.
        UnknownNameError: If the test survey has no task of that name.
    """
    test_task = find_task(test_card, name)
    if test_card.name == train_card.name:
        return test_task, test_task
    for candidate in sorted(train_card.tasks, key=lambda task: task.name != test_task.name):
        if set(candidate.classes) == set(test_task.classes):
            return test_task, candidate
    raise UsageError(
        f"{train_card.name!r} has no task with the classes of {test_card.name!r}'s {test_task.name!r} "
        f"({', '.join(test_task.classes)})"
    )


def training_data(store: CutoutStore, task: ClassTask | VoteTask) -> LabelledData:
    """Return the labelled rows of the training split."""
    return _rows_with_labels(store, task, ("train",))


def labelled_data(
    train_store: CutoutStore, test_store: CutoutStore, train_task: ClassTask | VoteTask, test_task: ClassTask | VoteTask
) -> tuple[LabelledData, LabelledData]:
    """Return the labelled training rows and test rows; classes are numbered as the training task lists them.

    Labels come from the training split. The test is on the test split of the same survey, or on all of another.

    Raises:
        DataError: If there is nothing to test on.
    """
    train = training_data(train_store, train_task)
    test = _rows_with_labels(test_store, test_task, _tested_splits(train_store.card.name, test_store.card.name))
    order = np.array([list(train_task.classes).index(name) for name in test_task.classes])
    if not len(test.rows):
        raise DataError(
            f"the store of {test_store.card.name!r} has no labelled test object for {test_task.name!r}"
            f"{_what_there_is(test_store, test_task)}"
        )
    return train, LabelledData(test.store, test.rows, order[test.labels])


def _what_there_is(store: CutoutStore, task: ClassTask | VoteTask) -> str:
    """Say how often each value of the label column comes in each split; empty for votes."""
    if not isinstance(task, ClassTask) or task.column not in store.catalog.columns:
        return ""
    wanted = ", ".join(repr(value) for values in task.classes.values() for value in values)
    pairs = zip(store.catalog.column(task.column).tolist(), store.catalog.column("split").tolist(), strict=True)
    counts = Counter(pairs).most_common(MOST_TOLD)
    there = ", ".join(f"{value!r} ({num} {split})" for (value, split), num in counts)
    return f": its classes look for {wanted} in column {task.column!r}, which has {there}"


def _rows_with_labels(store: CutoutStore, task: ClassTask | VoteTask, splits: Sequence[str]) -> LabelledData:
    labels = task_labels(store.catalog, task, store.votes)
    rows = rows_of_splits(store, splits)
    rows = rows[labels[rows] >= 0]
    return LabelledData(store, rows, labels[rows])


def leave_out_test_sources(train: LabelledData, test: LabelledData) -> tuple[LabelledData, int]:
    """Leave out training rows that are test sources seen by another survey; say how many."""
    if train.survey == test.survey:
        return train, 0
    ra, dec = (train.store.catalog.column(axis)[train.rows] for axis in ("ra", "dec"))
    test_ra, test_dec = (test.store.catalog.column(axis)[test.rows] for axis in ("ra", "dec"))
    kept = np.flatnonzero(~near(ra, dec, test_ra, test_dec, SAME_SOURCE_ARCSEC))
    return train.take(kept), len(train.rows) - len(kept)


def check_labels_unseen(card: ModelCard, train_survey: str, test_survey: str, *, folds: bool = False) -> None:
    """Refuse a model that was trained on the labels of what is to be tested on.

    Redshifts say nothing of classes, which are all that is tested.

    Args:
        card: Of the model.
        train_survey: Survey that the labels of the transfer come from.
        test_survey: Survey that is tested on.
        folds: Whether that is done on folds of the training split.

    Raises:
        UsageError: If it was.
    """
    tested = ("train",) if folds else _tested_splits(train_survey, test_survey)
    seen = [split for split in tested if split in card.labelled_splits.get(test_survey, ())]
    if seen and card.label_kind != "redshift":
        raise UsageError(
            f"the model {card.name!r} was trained on labels ({card.label_kind}) of the {' and '.join(seen)} split of "
            f"{test_survey!r}, and its error on them says nothing of new sources: test on another survey, or pretrain "
            f"with --set 'data.surveys=[{{name: {test_survey}, splits: [...]}}]' without what is tested on"
        )


def sources_without_place(train: LabelledData, test: LabelledData) -> tuple[str, ...]:
    """Say how many sources of two surveys cannot be looked for among each other, as they have no position."""
    if train.survey == test.survey:
        return ()
    counts = {data.survey: int(np.isnan(data.store.catalog.column("ra")[data.rows]).sum()) for data in (train, test)}
    unplaced = " and ".join(f"{num} of {survey!r}" for survey, num in counts.items() if num)
    told = f"{unplaced} have no position: whether a source is in both surveys is not known of them"
    return (told,) if unplaced else ()


def _tested_splits(train_survey: str, test_survey: str) -> tuple[str, ...]:
    """Return the splits of the test survey that a transfer tests on."""
    return ("test",) if test_survey == train_survey else ("train", "val", "test")


def check_contract(
    contract: InputContract, train: CutoutStore, test: CutoutStore, *, adapt_bands: bool, resample: bool
) -> tuple[str, ...]:
    """Refuse data the encoder may not be fed; return what was accepted against the contract, and by whom.

    A card's ``transfer`` bridges its two surveys: it answers for the one that is new to a network that knows the other.

    Args:
        contract: Of the encoder.
        train: Store the labels come from.
        test: Store to test on.
        adapt_bands: Accept bands that the contract does not list.
        resample: Accept cutouts smaller than the field of view, and another resolution.

    Raises:
        ContractError: If bands, field of view or resolution do not fit and nothing accepts that, or pixels are far from
            zero mean and unit spread, see :func:`astrofm.plan.check_normalisation`.
    """
    stores = tuple(dict.fromkeys((train, test)))
    is_planned = test.card.transfer is not None and test.card.transfer.train == train.card.name
    overrides = []
    is_accepted_by = {"--adapt-bands": adapt_bands, "--resample": resample}
    for check, option in _CHECKS:
        is_accepted = is_accepted_by[option]
        found = {store: _refusal(check, contract, store) for store in stores}
        is_bridged = is_planned and not all(found.values())
        for store, error in found.items():
            if error is None:
                continue
            if len(store.card.band_names) != contract.num_channels or not (is_accepted or is_bridged):
                raise error
            accepted_by = option if is_accepted else f"the card of {test.card.name!r}"
            overrides.append(f"{error} (accepted by {accepted_by})")
    wanted = contract.window_arcsec
    overrides += [
        f"the network looks at {wanted:g} arcsec; the scale of {store.card.name!r} is unknown and its cutouts are whole"
        for store in stores
        if wanted is not None and field_of_view_arcsec(store) is None
    ]
    for store in stores:
        name = store.card.name
        trained_on = rows_of_splits(store, ("train",))  # the constants that a message names are measured on them
        rows = trained_on if len(trained_on) else np.arange(len(store))
        check_normalisation(contract, {name: input_plan(store)}, (Feed(name, store, rows),))
    return tuple(overrides)


def check_store(contract: InputContract, store: CutoutStore) -> None:
    """Refuse a store whose bands, field of view or resolution the contract does not take as they are.

    Raises:
        ContractError: If one does not fit.
    """
    for check, _ in _CHECKS:
        check(contract, store)


def _check_bands(contract: InputContract, store: CutoutStore) -> None:
    contract.check_bands(store.card.name, store.card.band_names)


def _check_scale(contract: InputContract, store: CutoutStore) -> None:
    contract.check_scale(store.card.name, field_of_view_arcsec(store))


def _check_resolution(contract: InputContract, store: CutoutStore) -> None:
    contract.check_resolution(store.card.name, store.card.resolution_arcsec)


_Check = Callable[[InputContract, CutoutStore], None]

_CHECKS: tuple[tuple[_Check, str], ...] = (
    (_check_bands, "--adapt-bands"),
    (_check_scale, "--resample"),
    (_check_resolution, "--resample"),
)
"""What is compared, and the option that accepts a mismatch."""


def _refusal(check: _Check, contract: InputContract, store: CutoutStore) -> ContractError | None:
    try:
        check(contract, store)
    except ContractError as error:
        return error
    return None
