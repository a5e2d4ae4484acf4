"""Each hook is documented, and a real plugin or the core itself implements it."""

import inspect
import re
from pathlib import Path

import pytest

from astrofm import hookspecs, plugins

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "astrofm_spec")]


def test_the_walk_finds_the_hooks():
    assert {"register_surveys", "register_views", "register_objectives", "register_encoders", "register_heads"} <= set(
        HOOKS
    )
    assert set(HOOKS) == set(hookspecs.__all__) - {"hookimpl", "hookspec"}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_its_place_in_the_documentation(hook):
    assert re.search(rf"^#+ `?{hook}`?$|def {hook}\(", PAGE, re.M)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_what_it_is_for(hook):
    assert inspect.getdoc(getattr(hookspecs, hook))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_implemented_by_what_is_installed(hook):
    implementations = getattr(plugins.load().manager.hook, hook).get_hookimpls()
    assert implementations
    for implementation in implementations:
        parts = []
        implementation.function(parts.append)
        assert parts, f"{implementation.plugin_name} registers nothing in {hook}"


def test_the_documentation_names_no_hook_that_is_not_there():
    assert set(re.findall(r"\bregister_\w+", PAGE)) <= set(HOOKS)


def test_what_is_installed_has_no_problem():
    assert plugins.problems() == ()
