"""Real modules, real entry points, a real plugin manager; only the list of what is installed is made up."""

import sys
from importlib.metadata import EntryPoint, PathDistribution

import pytest

from astrofm import plugins
from astrofm.errors import PluginError, RecipeError, UnknownNameError

SURVEY_PLUGIN = """
from pathlib import Path
from astrofm import Survey, hookimpl

@hookimpl
def register_surveys(register):
    for card in sorted((Path(__file__).parent / {folder!r}).glob("*.yaml")):
        register(Survey.from_yaml(card))
"""


@pytest.fixture
def install(tmp_path, monkeypatch, fresh_plugins):
    """Return ``install(point, code)``: write a module that an entry point of that name leads to."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASTROFM_SURVEYS", raising=False)
    points = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "astrofm" else [])
    written = []

    def add(point, code, module=None):
        module = module or f"stranger_{point}_{len(points)}"
        if code is not None:
            (tmp_path / f"{module}.py").write_text(code)
        points.append(EntryPoint(point, module, "astrofm"))
        written.append(module)
        plugins.forget()

    yield add
    for module in written:
        sys.modules.pop(module, None)


@pytest.fixture
def survey_plugin(install, tmp_path, write_card):
    """Return ``survey_plugin(point, *names)``: a plugin that registers surveys of these names."""

    def add(point, *names):
        for name in names:
            write_card(tmp_path / f"cards_{point}" / f"{name}.yaml", name=name)
        install(point, SURVEY_PLUGIN.format(folder=f"cards_{point}"))

    return add


def sentences():
    return [problem.sentence for problem in plugins.problems()]


def test_a_plugin_s_surveys_are_found_and_owned(survey_plugin):
    survey_plugin("good", "alpha", "beta")
    assert plugins.problems() == ()
    assert {"alpha", "beta"} <= plugins.surveys().keys()
    assert plugins.survey_owners()["alpha"] == "good"
    assert plugins.survey("beta").name == "beta"


def test_what_is_loaded_is_kept_until_it_is_forgotten(survey_plugin):
    survey_plugin("good", "alpha")
    assert plugins.survey("alpha") is plugins.survey("alpha")
    before = plugins.survey("alpha")
    plugins.forget()
    assert plugins.survey("alpha") is not before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence\\n  for this host')", "RuntimeError: no licence for this host"),
        ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit('go away')", "SystemExit: go away"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_sentence_and_the_others_work(install, survey_plugin, code, said):
    install("broken", code)
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin broken" in sentence
    assert "cannot be imported" in sentence
    assert said in sentence
    assert "\n" not in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_module_that_is_not_there_is_one_sentence(install, survey_plugin):
    install("gone", None, module="nobody_wrote_this")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin gone" in sentence
    assert "nobody_wrote_this" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_misspelt_hook_is_one_sentence_with_the_right_spelling(install, survey_plugin):
    install("typo", "from astrofm import hookimpl\n@hookimpl\ndef register_survey(register):\n    pass\n")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin typo" in sentence
    assert "no hook named 'register_survey'" in sentence
    assert "did you mean 'register_surveys'?" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_hook_with_a_wrong_argument_is_one_sentence(install, survey_plugin):
    install("args", "from astrofm import hookimpl\n@hookimpl\ndef register_surveys(add):\n    pass\n")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin args" in sentence
    assert "'add'" in sentence or "{'add'}" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_two_plugins_of_one_name_are_named_both(survey_plugin):
    survey_plugin("twin", "alpha")
    survey_plugin("twin", "alpha")
    (sentence,) = sentences()
    assert sentence.startswith("two plugins are named 'twin': stranger_twin_1 and stranger_twin_0")
    assert plugins.survey("alpha").name == "alpha"


def test_no_plugin_can_take_the_core_s_place(survey_plugin):
    survey_plugin("astrofm", "alpha")
    (sentence,) = sentences()
    assert "two plugins are named 'astrofm': stranger_astrofm_0 and astrofm.builtins" in sentence
    assert plugins.view_part("rotate").name == "rotate"


def test_one_module_under_two_names_is_one_sentence(install, survey_plugin):
    survey_plugin("good", "alpha")
    install("again", None, module="stranger_good_0")
    (sentence,) = sentences()
    assert "stranger_good_0" in sentence
    assert "\n" not in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_two_surveys_of_one_name_fail_on_use_with_both_owners_and_the_others_work(survey_plugin):
    survey_plugin("first", "shared", "alpha")
    survey_plugin("second", "shared", "beta")
    with pytest.raises(PluginError) as caught:
        plugins.survey("shared")
    assert str(caught.value).count("two surveys are named 'shared'") == 1
    assert "first" in str(caught.value)
    assert "second" in str(caught.value)
    assert sentences() == [str(caught.value)]
    assert "shared" not in plugins.surveys()
    assert plugins.survey("alpha").name == "alpha"
    assert plugins.survey("beta").name == "beta"


def test_a_hook_that_fails_keeps_what_it_registered_before(survey_plugin, install, tmp_path, write_card):
    write_card(tmp_path / "cards_half" / "alpha.yaml", name="alpha")
    install("half", SURVEY_PLUGIN.format(folder="cards_half") + "    raise OSError('disk gone')\n")
    (sentence,) = sentences()
    assert sentence == "plugin 'half' failed in register_surveys: OSError: disk gone"
    assert plugins.survey("alpha").name == "alpha"


def test_what_is_registered_must_be_a_part_with_a_name(install, survey_plugin):
    code = "from astrofm import Survey, hookimpl\n@hookimpl\ndef register_surveys(register):\n    register(Survey)\n"
    install("careless", code)
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin 'careless' failed in register_surveys" in sentence
    assert "which is no survey with a name" in sentence
    assert "alpha" in plugins.surveys()


def test_cards_in_the_working_folder_and_in_named_folders_are_surveys(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "here.yaml", name="here")
    write_card(tmp_path / "elsewhere" / "there.yaml", name="there")
    monkeypatch.setenv("ASTROFM_SURVEYS", "elsewhere")
    plugins.forget()
    assert plugins.problems() == ()
    owners = plugins.survey_owners()
    assert owners["here"] == "card surveys/here.yaml"
    assert owners["there"] == "card elsewhere/there.yaml"


def test_a_shipped_card_is_owned_by_its_file_name(install):
    assert plugins.survey_owners()["nvss"] == "card nvss.yaml"


def test_a_broken_card_is_one_sentence_and_the_others_work(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "here.yaml", name="here")
    write_card(tmp_path / "surveys" / "typo.yaml", name="typo", tilte="x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("ASTROFM_SURVEYS", "more")
    plugins.forget()
    said = sentences()
    assert len(said) == 2
    assert "surveys/typo.yaml: tilte: no such key" in said[0]
    assert "more/binary.yaml" in said[1]
    assert plugins.survey("here").name == "here"


def test_two_cards_of_one_name_clash_and_a_copy_does_not(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "a.yaml", name="same")
    write_card(tmp_path / "more" / "b.yaml", name="same")
    monkeypatch.setenv("ASTROFM_SURVEYS", "more")
    plugins.forget()
    assert plugins.problems() == ()
    assert plugins.survey_owners()["same"] == "card surveys/a.yaml"
    write_card(tmp_path / "more" / "b.yaml", name="same", title="Another")
    plugins.forget()
    with pytest.raises(PluginError, match=r"one from card surveys/a\.yaml, one from card more/b\.yaml"):
        plugins.survey("same")


def test_a_folder_of_cards_that_is_not_there_is_named(install, monkeypatch):
    monkeypatch.setenv("ASTROFM_SURVEYS", "nowhere")
    plugins.forget()
    assert sentences() == ["ASTROFM_SURVEYS names nowhere, which is no folder"]


def test_an_unknown_survey_names_the_known_ones_and_what_was_not_loaded(install, survey_plugin):
    survey_plugin("good", "alpha")
    with pytest.raises(UnknownNameError) as caught:
        plugins.survey("alpah")
    assert "did you mean 'alpha'?" in str(caught.value)
    assert "not loaded" not in str(caught.value)
    install("broken", "raise RuntimeError('no licence')")
    with pytest.raises(UnknownNameError, match="not loaded: plugin broken"):
        plugins.survey("alpah")


def test_a_path_names_a_card(install, tmp_path, write_card):
    assert plugins.survey(str(write_card(tmp_path / "mine.yaml"))).name == "test-field"
    with pytest.raises(RecipeError, match=r"no survey card at none\.yaml"):
        plugins.survey("none.yaml")


def test_unknown_views_and_objectives_name_the_known_ones(install):
    with pytest.raises(UnknownNameError, match="did you mean 'rotate'"):
        plugins.view_part("rotaet")
    with pytest.raises(UnknownNameError, match="no objective named 'byo'"):
        plugins.objective_part("byo")


@pytest.fixture
def made_for(install, tmp_path):
    """Return ``made_for(point, requirement)``: a plugin whose installed package names what it needs."""

    def add(point, requirement):
        install(point, "from astrofm import hookimpl\n")
        folder = tmp_path / f"astrofm_{point}-2.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: astrofm-{point}\nVersion: 2.0\nRequires-Dist: {requirement}\n")
        points = plugins.entry_points(group="astrofm")
        points[-1] = points[-1]._for(PathDistribution(folder))
        plugins.forget()

    return add


def test_a_plugin_for_another_version_is_one_sentence_and_the_others_work(made_for, survey_plugin):
    survey_plugin("mine", "mine-one")
    made_for("theirs", "astrofm>=99")
    (sentence,) = sentences()
    assert sentence.startswith("plugin theirs (astrofm-theirs) is made for astrofm >=99, and this is ")
    assert "mine-one" in plugins.surveys()
    with pytest.raises(UnknownNameError, match="made for astrofm >=99"):
        plugins.survey("theirs-one")


@pytest.mark.parametrize(
    "requirement",
    ["astrofm", "astrofm>=0.1", "numpy>=99", 'astrofm>=99; extra == "later"', "AstroFM!=99", "old (>=1.0.*)"],
)
def test_a_plugin_for_this_version_is_used(made_for, requirement):
    made_for("theirs", requirement)
    assert sentences() == []
