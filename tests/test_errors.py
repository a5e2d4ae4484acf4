import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from astrofm import errors
from astrofm.errors import AstrofmError, UnknownNameError, UsageError, in_one_line, one_of

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


def test_several_faults_come_in_one_sentence():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"a": 1, "b": 2}})
    assert (
        in_one_line(caught.value)
        == "inner.depth: is missing and must be given; inner.a: no such key; inner.b: no such key"
    )
