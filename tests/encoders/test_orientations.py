"""The mean over orientations does not depend on which way is up."""

import numpy as np
import pytest
import torch

from astrofm.encoders.build import EncoderConfig, build_encoder, layer_groups
from astrofm.encoders.orientations import OrientationMean
from astrofm.errors import RecipeError, UsageError
from astrofm.parts import NamedEncoder, named_encoder
from astrofm.recipe import NamedPart


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(EncoderConfig(name="test_resnet"), 1).eval()


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 32, 32)).astype(np.float32))


def of(encoder, num, images):
    with torch.no_grad():
        return OrientationMean(encoder, num)(images).numpy()


def test_one_orientation_is_the_network_itself(encoder, images):
    with torch.no_grad():
        np.testing.assert_array_equal(of(encoder, 1, images), encoder(images).numpy())


@pytest.mark.parametrize(("num", "is_same_for_mirror_images"), [(1, False), (4, False), (8, True)])
def test_rotations_change_nothing_and_mirror_images_nothing_where_they_are_among_them(
    encoder, images, num, is_same_for_mirror_images
):
    plain = of(encoder, num, images)
    for quarter_turns in range(1, 4):
        turned = of(encoder, num, images.rot90(quarter_turns, (-2, -1)))
        assert np.allclose(turned, plain, atol=1e-5) == (num > 1)
    for axis in (-1, -2):
        assert np.allclose(of(encoder, num, images.flip(axis)), plain, atol=1e-5) == is_same_for_mirror_images


def test_eight_orientations_are_eight_different_images():
    seen = []

    def network(images):
        seen.append(images.numpy().tobytes())
        return images.flatten(1)

    module = torch.nn.Module()
    module.forward = network
    OrientationMean(module, 8)(torch.arange(9.0).reshape(1, 1, 3, 3))
    assert len(set(seen)) == 8


def test_another_number_is_refused_with_those_that_there_are(encoder):
    with pytest.raises(UsageError, match="3 orientations were asked for: a square image has 1, 4, 8"):
        OrientationMean(encoder, 3)


def test_as_an_encoder_it_is_named_in_a_recipe_and_has_the_layers_of_its_network(images):
    settings = {"network": {"name": "test_resnet"}, "num": 8}
    named = named_encoder(NamedPart(name="orientation-mean", settings=settings))
    encoder = named.build(1, seed=3).eval()
    with torch.no_grad():
        embedding = encoder(images)
        torch.testing.assert_close(encoder(images.rot90(1, (-2, -1)).flip(-1)), embedding)
    plain = build_encoder(EncoderConfig(name="test_resnet"), 1, seed=3)
    assert encoder.embed_dim == embedding.shape[1] == plain.embed_dim
    assert [len(group) for group in layer_groups(encoder)] == [len(group) for group in layer_groups(plain)]
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), plain.parameters(), strict=True))
    again = NamedEncoder.from_facts(named.facts()).build(1)
    again.load_state_dict(encoder.state_dict())
    with pytest.raises(RecipeError, match=r"encoder 'orientation-mean' of the recipe: num: "):
        named_encoder(NamedPart(name="orientation-mean", settings=settings | {"num": 3}))
