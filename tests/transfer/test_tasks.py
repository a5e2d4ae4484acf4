"""Tasks of a card: the first, or the one asked for."""

import pytest

from astrofm import plugins
from astrofm.errors import UnknownNameError, UsageError
from astrofm.transfer.tasks import find_task


@pytest.fixture(scope="module")
def card():
    return plugins.survey("mirabest").card


def test_first_task_is_the_default(card):
    assert find_task(card) is card.tasks[0]


@pytest.mark.parametrize("number", [0, 1, -1])
def test_task_is_found_by_its_name(card, number):
    assert find_task(card, card.tasks[number].name) is card.tasks[number]


def test_unknown_task_is_refused_with_the_known_ones_and_the_nearest(card):
    with pytest.raises(UnknownNameError, match=r"no task .* named 'fr-al'.*fr-confident.*did you mean 'fr-all'"):
        find_task(card, "fr-al")


def test_card_without_tasks_is_refused(card):
    with pytest.raises(UsageError, match="'mirabest' has no labelled task"):
        find_task(card.model_copy(update={"tasks": ()}))
