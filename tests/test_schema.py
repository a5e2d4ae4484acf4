import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from astrofm.errors import RecipeError
from astrofm.schema import Question, VoteSchema

GIVEN = {
    "name": "tiny-v1",
    "source": "made for tests",
    "questions": [
        {"name": "smooth", "answers": ["yes", "no", "artifact"]},
        {"name": "bar", "answers": ["strong", "none"], "asked_after": "smooth_no"},
    ],
}


def test_columns_are_question_and_answer_in_order():
    schema = VoteSchema.model_validate(GIVEN)
    assert schema.columns == ("smooth_yes", "smooth_no", "smooth_artifact", "bar_strong", "bar_none")


def test_slices_cut_the_columns_into_questions():
    schema = VoteSchema.model_validate(GIVEN)
    assert schema.slices == (slice(0, 3), slice(3, 5))
    for question, part in zip(schema.questions, schema.slices, strict=True):
        assert schema.columns[part] == question.columns
        assert schema.question(question.name) is question
    with pytest.raises(KeyError):
        schema.question("spiral")


def test_a_file_gives_the_schema(tmp_path):
    path = tmp_path / "tiny-v1.yaml"
    path.write_text(yaml.safe_dump(GIVEN))
    assert VoteSchema.from_yaml(path) == VoteSchema.model_validate(GIVEN)


def test_two_columns_of_one_name_are_refused():
    twice = [{"name": "a", "answers": ["b_c", "d"]}, {"name": "a_b", "answers": ["c", "e"]}]
    with pytest.raises(ValidationError, match="names these columns twice: a_b_c"):
        VoteSchema.model_validate(GIVEN | {"questions": twice})


def test_a_question_follows_an_answer_that_exists():
    orphan = [*GIVEN["questions"], {"name": "x", "answers": ["a", "b"], "asked_after": "smooth_maybe"}]
    with pytest.raises(ValidationError, match="follows 'smooth_maybe', which is no answer"):
        VoteSchema.model_validate(GIVEN | {"questions": orphan})


def test_questions_that_lead_to_each_other_are_refused():
    circle = [
        {"name": "bar", "answers": ["yes", "no"], "asked_after": "arms_yes"},
        {"name": "arms", "answers": ["yes", "no"], "asked_after": "bar_yes"},
    ]
    with pytest.raises(ValidationError, match="question 'bar' is asked after itself, by way of arms_yes, bar_yes"):
        VoteSchema.model_validate(GIVEN | {"questions": circle})


def test_the_share_that_is_asked_is_the_product_of_the_fractions_before():
    arms = {"name": "arms", "answers": ["one", "two"], "asked_after": "bar_none"}
    schema = VoteSchema.model_validate(GIVEN | {"questions": [arms, *GIVEN["questions"]]})  # a child may stand first
    fractions = np.array([[0.5, 0.5, 0.2, 0.7, 0.1, 0.6, 0.4], [0.0, 1.0, 1.0, 0.0, 0.0, 0.3, 0.7]])
    expected = [[0.7 * 0.4, 1.0, 0.7], [0.0, 1.0, 0.0]]
    np.testing.assert_allclose(schema.shares_asked(fractions), expected, rtol=1e-15)
    with pytest.raises(ValueError, match=r"'tiny-v1' has 7 answers, the fractions have the shape \(2, 5\)"):
        schema.shares_asked(fractions[:, :5])


def test_a_question_has_at_least_two_answers():
    with pytest.raises(ValidationError):
        Question(name="q", answers=("only",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: x\nsource: y\nquestion: []\n", "questions: is missing and must be given; question: no such key"),
        ("", "the file: Input should be a valid dictionary"),
        ("name: [x\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_schema_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        VoteSchema.from_yaml(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RecipeError, match=f"no vote schema at {path}"):
            VoteSchema.from_yaml(path)
