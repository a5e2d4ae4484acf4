import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from astrofm import errors
from astrofm.errors import AstrofmError, UnknownNameError, UsageError, in_one_line, not_yaml, one_of

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AstrofmError)]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: int

    @field_validator("depth")
    @classmethod
    def _is_even(cls, depth):
        if depth % 2:
            raise ValueError("depth must be even,\n   not odd")
        return depth


class Outer(BaseModel):
    inner: Inner


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_wrong_calls_exit_with_2_and_failures_with_1(kind):
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


def test_every_error_class_is_public():
    assert {kind.__name__ for kind in CLASSES} <= set(errors.__all__)


def test_an_unknown_name_gives_the_known_ones_in_order_and_the_nearest():
    error = one_of("survey", "mirabset", ["nvss", "mirabest"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "no survey named 'mirabset'; known: mirabest, nvss; did you mean 'mirabest'?"


def test_nothing_is_suggested_where_nothing_is_near():
    assert str(one_of("view", "rotate", [])) == "no view named 'rotate'; known: none"
    assert "did you mean" not in str(one_of("view", "xyz", ["rotate"]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"inner": {"depth": 2, "dept": 1}}, "inner.dept: no such key"),
        ({"inner": {}}, "inner.depth: is missing and must be given"),
        ({"inner": {"depth": 3}}, "inner.depth: depth must be even, not odd"),
        (None, "the file: Input should be a valid dictionary or instance of Outer"),
    ],
)
def test_what_pydantic_found_is_one_line_that_names_the_place(given, sentence):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    assert in_one_line(caught.value) == sentence


def test_too_few_of_which_the_others_are_at_fault_is_not_told_of():
    class Many(BaseModel):
        parts: tuple[Inner, ...] = Field(min_length=1)

    with pytest.raises(ValidationError) as caught:
        Many.model_validate({"parts": [{"depth": 3}]})
    assert in_one_line(caught.value) == "parts.0.depth: depth must be even, not odd"
    with pytest.raises(ValidationError) as caught:
        Many.model_validate({"parts": []})
    assert "at least 1 item" in in_one_line(caught.value)


def test_where_yaml_ends_is_one_line_with_the_remedy():
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load("columns: {id: name,\n  label: What is it?, split: part}")
    assert not_yaml(caught.value).startswith("line 2, column ")
    assert not_yaml(caught.value).endswith("; text that holds any of : # ? , [ ] { } goes in quotes")


def test_several_faults_come_in_one_sentence():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"a": 1, "b": 2}})
    assert (
        in_one_line(caught.value)
        == "inner.depth: is missing and must be given; inner.a: no such key; inner.b: no such key"
    )
