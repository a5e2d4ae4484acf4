"""The vote schemas are those that were published."""

import json
from importlib.resources import files

import pytest

from astrofm import VoteSchema

SCHEMAS = files("astrofm_galaxyzoo") / "cards" / "schemas"
PUBLISHED = {
    "gz2": "gz2",
    "gz-decals-dr12": "gz_decals_dr12",
    "gz-decals-dr5": "gz_decals_dr5",
    "gz-decals-dr8": "gz_decals_dr8",
    "gz-hubble-v0.1": "gz_hubble (as in GZ-Evo v0.1, with clump-count)",
    "gz-hubble-v1": "gz_hubble (HEAD, clump-count removed 2024-08-27)",
    "gz-candels-v0.1": "gz_candels (as in GZ-Evo v0.1, with clump-count)",
    "gz-hubble-v2": "gz_hubble_v2 (HEAD)",
    "gz-candels-v1": "gz_candels (HEAD, clump-count removed 2024-08-27)",
    "gz-ukidss": "gz_ukidss",
    "gz-cosmic-dawn": "gz_cosmic_dawn",
    "gz-desi": "gz_desi",
    "gz-rings": "gz_rings",
}
SIZES = {
    "gz-evo-v0.1": (65, 206),
    "gz-evo-v1": (63, 194),
    "gz-evo-v2": (60, 188),
    "gz2": (10, 30),
    "gz-decals-dr12": (10, 30),
}
CANDELS = {"v0.1": "v0.1", "v1": "v1", "v2": "v1"}
"""Version of the questions of CANDELS in each version of Galaxy Zoo Evo."""


def schema_named(name):
    return VoteSchema.from_yaml(SCHEMAS / f"{name}.yaml")


@pytest.fixture(scope="module")
def published(data_dir):
    file = data_dir.parent / "reference" / "gz_schema.json"
    if not file.is_file():
        pytest.skip(f"no reference schema at {file}")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(SCHEMAS.iterdir(), key=str), ids=lambda file: file.name)
def test_every_schema_carries_the_name_of_its_file(file):
    assert f"{VoteSchema.from_yaml(file).name}.yaml" == file.name


@pytest.mark.parametrize("name", SIZES)
def test_schemas_have_the_published_number_of_questions_and_answers(name):
    schema = schema_named(name)
    assert (len(schema.questions), len(schema.columns)) == SIZES[name]


@pytest.mark.parametrize(
    ("name", "key"), [("gz-evo-v0.1", "column_order_v01"), ("gz-evo-v1", "column_order_v1_public_head")]
)
def test_columns_are_in_the_published_order(published, name, key):
    assert list(schema_named(name).columns) == published[key]


@pytest.mark.parametrize("name", PUBLISHED)
def test_campaigns_have_the_published_answers_and_decision_tree(published, name):
    wanted = published["surveys"][PUBLISHED[name]]["questions"]
    found = {
        question.name: {"answers": list(question.answers), "depends_on": question.asked_after}
        for question in schema_named(name).questions
    }
    assert found == wanted


@pytest.mark.parametrize("version", ["v0.1", "v1", "v2"])
def test_gz_evo_is_its_campaigns_together(version):
    campaigns = ["gz-decals-dr12", "gz-decals-dr5", "gz-decals-dr8", "gz2"]
    campaigns += [f"gz-candels-{CANDELS[version]}", f"gz-hubble-{version}"]
    together = [question for name in campaigns for question in schema_named(name).questions]
    assert sorted(together, key=lambda q: q.name) == sorted(
        schema_named(f"gz-evo-{version}").questions, key=lambda q: q.name
    )


def test_only_the_clump_counts_left_between_the_versions():
    old, new = ({question.name for question in schema_named(name).questions} for name in ("gz-evo-v0.1", "gz-evo-v1"))
    assert old - new == {"clump-count-hubble", "clump-count-candels"}
    assert new <= old


def test_v2_asks_hubble_without_clumps():
    """Its disk questions follow smooth or featured at once."""
    schema = schema_named("gz-evo-v2")
    assert not [
        question.name for question in schema.questions if "clump" in question.name and "hubble" in question.name
    ]
    assert schema.question("disk-edge-on-hubble").asked_after == "smooth-or-featured-hubble_features"
