from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrofm.mock.galaxies import Galaxy, sample_galaxy
from astrofm.mock.seeding import object_rng
from astrofm.mock.votes import draw_galaxy_votes, draw_vote_table, draw_votes, galaxy_answer_fractions

QUESTIONS = {
    "spiral-winding": ("tight", "medium", "loose"),  # on purpose before the questions that lead to it
    "smooth-or-featured": ("smooth", "featured-or-disk", "artifact"),
    "disk-edge-on": ("yes", "no"),
    "has-spiral-arms": ("yes", "no"),
    "bar": ("strong", "weak", "no"),
    "how-rounded": ("round", "in-between", "cigar-shaped"),
    "merging": ("none", "minor-disturbance", "major-disturbance", "merger"),
}
DEPENDENCIES = {
    "smooth-or-featured": None,
    "disk-edge-on": "smooth-or-featured_featured-or-disk",
    "has-spiral-arms": "disk-edge-on_no",
    "bar": "disk-edge-on_no",
    "how-rounded": "smooth-or-featured_smooth",
    "spiral-winding": "has-spiral-arms_yes",
    "merging": None,
}
SPIRAL = Galaxy("spiral", 0.05, 16.0, 6.0, 0.9, 30.0, bulge_fraction=0.2, num_arms=2, arm_strength=0.9)


def total(votes, question):
    return sum(votes[f"{question}_{answer}"] for answer in QUESTIONS[question])


@given(
    concentrations=st.lists(st.floats(0.05, 100.0), min_size=1, max_size=6),
    num=st.integers(0, 200),
    seed=st.integers(0, 2**32),
)
def test_votes_add_up_to_the_number_of_volunteers(concentrations, num, seed):
    votes = draw_votes(np.random.default_rng(seed), np.array(concentrations), num)
    assert votes.sum() == num
    assert votes.min() >= 0


def test_votes_have_the_mean_and_overdispersion_of_a_dirichlet_multinomial():
    alpha, num = np.array([6.0, 3.0, 1.0]), 30
    rng = np.random.default_rng(0)
    votes = np.array([draw_votes(rng, alpha, num) for _ in range(20_000)])
    mean = alpha / alpha.sum()
    np.testing.assert_allclose(votes.mean(axis=0), num * mean, rtol=0.02)
    overdispersion = (num + alpha.sum()) / (1 + alpha.sum())
    np.testing.assert_allclose(votes.var(axis=0), num * mean * (1 - mean) * overdispersion, rtol=0.05)


@pytest.mark.parametrize(("alpha", "num", "message"), [([1.0, 0.0], 3, "positive"), ([1.0], -1, "negative")])
def test_impossible_votes_are_refused(alpha, num, message):
    with pytest.raises(ValueError, match=message):
        draw_votes(np.random.default_rng(0), alpha, num)


@pytest.mark.parametrize("morphology", ["elliptical", "spiral", "edge-on", "merger"])
def test_a_question_is_asked_of_those_whose_answer_leads_to_it(morphology):
    for index in range(20):
        rng = object_rng(0, index)
        votes = draw_galaxy_votes(sample_galaxy(rng, morphology), QUESTIONS, DEPENDENCIES, rng)
        for question, parent in DEPENDENCIES.items():
            expected = total(votes, "merging") if parent is None else votes[parent]
            assert total(votes, question) == expected


def test_questions_that_nobody_reaches_have_no_votes():
    smooth = Galaxy("elliptical", 0.05, 16.0, 4.0, 1.0, 0.0)
    tables = [draw_vote_table([smooth] * 200, QUESTIONS, DEPENDENCIES, seed, num_volunteers=10) for seed in range(2)]
    for table in tables:
        unasked = table["smooth-or-featured_featured-or-disk"] == 0
        assert unasked.any()
        for question in ("disk-edge-on", "has-spiral-arms", "bar", "spiral-winding"):
            assert not total(table, question)[unasked].any()


def test_columns_are_named_and_ordered_as_the_questions():
    table = draw_vote_table([SPIRAL] * 3, QUESTIONS, DEPENDENCIES, 0)
    assert list(table) == [f"{question}_{answer}" for question, answers in QUESTIONS.items() for answer in answers]
    assert all(column.shape == (3,) and column.dtype == np.int64 for column in table.values())


def test_the_votes_of_a_galaxy_do_not_depend_on_how_many_there_are():
    short, long = (draw_vote_table([SPIRAL] * num, QUESTIONS, DEPENDENCIES, 3) for num in (4, 9))
    for column, votes in short.items():
        np.testing.assert_array_equal(votes, long[column][:4])
    assert any(len(set(votes.tolist())) > 1 for votes in long.values())


def favourite(galaxy, question, answers):
    return answers[int(galaxy_answer_fractions(galaxy, {question: answers})[question].argmax())]


def test_volunteers_see_what_is_there():
    elliptical = Galaxy("elliptical", 0.05, 16.0, 4.0, 0.95, 0.0)
    merger = sample_galaxy(np.random.default_rng(0), "merger")
    edge_on = sample_galaxy(np.random.default_rng(0), "edge-on")
    first = ("smooth", "featured-or-disk", "artifact")
    assert favourite(elliptical, "smooth-or-featured", first) == "smooth"
    assert favourite(elliptical, "how-rounded-dr5", ("round", "in-between", "cigar-shaped")) == "round"
    assert favourite(SPIRAL, "smooth-or-featured-gz2", first) == "featured-or-disk"
    assert favourite(SPIRAL, "has-spiral-arms-hubble", ("yes", "no")) == "yes"
    assert favourite(SPIRAL, "spiral-arm-count", ("1", "2", "3", "4", "5-plus", "cant-tell")) == "2"
    assert favourite(replace(SPIRAL, bar_strength=1.0), "bar-dr5", ("strong", "weak", "no")) == "strong"
    assert favourite(replace(SPIRAL, bar_strength=1.0), "bar-gz2", ("yes", "no")) == "yes"
    assert favourite(SPIRAL, "bar-gz2", ("yes", "no")) == "no"
    assert favourite(edge_on, "disk-edge-on", ("yes", "no")) == "yes"
    assert favourite(merger, "merging-dr8", QUESTIONS["merging"]) in {"major-disturbance", "merger"}
    assert favourite(replace(SPIRAL, ring_strength=0.9), "ring", ("yes", "no")) == "yes"


def test_fractions_are_positive_and_add_up_to_one():
    for index in range(40):
        fractions = galaxy_answer_fractions(sample_galaxy(object_rng(2, index)), QUESTIONS)
        for values in fractions.values():
            assert values.min() > 0.0
            assert values.sum() == pytest.approx(1.0)


def test_an_unknown_question_has_a_flat_answer():
    fractions = galaxy_answer_fractions(SPIRAL, {"barista": ("flat", "white", "black")})
    np.testing.assert_allclose(fractions["barista"], 1 / 3)


def test_a_broken_tree_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="not an answer to any question"):
        draw_galaxy_votes(SPIRAL, {"bar": ("yes", "no")}, {"bar": "disk_no"}, rng)
    with pytest.raises(ValueError, match="circle: bar, disk"):
        draw_galaxy_votes(SPIRAL, {"bar": ("a",), "disk": ("b",)}, {"bar": "disk_b", "disk": "bar_a"}, rng)
