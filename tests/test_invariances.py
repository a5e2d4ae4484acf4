"""What views make a network ignore, against what its objective is to measure."""

import pytest

from astrofm.errors import RecipeError
from astrofm.parts import check_invariances
from astrofm.pretrain import check_parts
from astrofm.recipe import NamedPart, Recipe


@pytest.fixture
def redshifts(radio_recipe):
    """Return a function that gives a recipe for redshifts with some views."""

    def make(*views, head="redshift", **changes):
        settings = {"head": {"kind": head} if head != "classes" else {"kind": head, "task": "blobs"}}
        given = (
            radio_recipe | {"views": list(views), "objective": {"name": "supervised", "settings": settings}} | changes
        )
        return Recipe.parse(given, "here")

    return make


@pytest.mark.parametrize("name", ["jitter", "grayscale"])
def test_redshifts_from_images_without_colour_are_refused_unless_forced(redshifts, name):
    with pytest.raises(RecipeError, match=f"learns redshift from colour, which the view '{name}' teaches it to ignore"):
        check_parts(redshifts("rotate", name))
    check_parts(redshifts("rotate", name, force=True))


def test_other_views_and_other_labels_are_as_they_were(redshifts):
    check_parts(redshifts("rotate", "flip", "dust", {"name": "sky-noise", "settings": {"factor": [1.0, 2.0]}}))
    check_parts(redshifts("rotate", "jitter", head="votes"))
    check_parts(redshifts("rotate", "jitter", head="classes"))


def test_an_objective_without_labels_may_have_any_view(radio_recipe):
    check_invariances(Recipe.parse(radio_recipe | {"views": ["jitter"]}, "here"))


def test_a_slip_in_the_settings_of_a_view_is_told_first(redshifts):
    recipe = redshifts("rotate")
    slip = recipe.model_copy(update={"views": (NamedPart(name="jitter", settings={"brightnes": 1.0}),)})
    with pytest.raises(RecipeError, match="view 'jitter' of the recipe: brightnes: no such key"):
        check_parts(slip)
