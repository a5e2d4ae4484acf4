"""Compiled networks learn what plain ones learn, go on after a stop with the same bits, and fall back in a sentence."""

import math
import re
import shutil
import signal
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from astrofm.encoders.compiled import compile_networks, compile_views
from astrofm.interruption import Interrupted
from astrofm.pretrain import pretrain
from astrofm.run import Run
from astrofm.views.blur import Blur, BlurConfig
from astrofm.views.grayscale import Grayscale, GrayscaleConfig
from astrofm.views.photometry import Jitter, JitterConfig

has_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
# torch hides this one itself, unless it is an error
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def _own_kernels(tmp_path_factory, monkeypatch):
    """Compile anew, whatever earlier runs have left on the disk or in memory."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
    torch.compiler.reset()


@pytest.fixture
def networks():
    """Two networks as an objective holds them, which keep what they were without compiling."""
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GELU()) for name in ("a", "b")})


@pytest.fixture
def train(mock_stores, tiny_recipe, tmp_path):
    """Return a function that trains with or without compiled networks, and returns the run."""

    def train(name, *, learning_rate=0.05, listeners=(), resume=False, **training):
        # SGD: the first steps of AdamW are as long for a gradient of rounding errors as for any other.
        optimizer = {"name": "sgd", "learning_rate": learning_rate}
        recipe = tiny_recipe(max_steps=4, checkpoint_every_steps=2, optimizer=optimizer, **training)
        pretrain(recipe, {"gz-evo": mock_stores["gz-evo"]}, tmp_path / name, listeners=listeners, resume=resume)
        return Run(tmp_path / name)

    return train


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


def distance(run, other):
    pairs = zip(weights(run).values(), weights(other).values(), strict=True)
    return math.sqrt(sum(float((one - two).double().square().sum()) for one, two in pairs))


def gradients(networks, images):
    networks.zero_grad()
    (networks["a"](images) * networks["b"](images)).sum().backward()
    return [parameter.grad.clone() for parameter in networks.parameters()]


class SignalAt:
    def on_step(self, info):
        if info.step == 2:
            signal.raise_signal(signal.SIGTERM)


def test_without_a_compiler_one_sentence_says_so_and_every_bit_is_that_of_plain_networks(networks):
    import torch._inductor.config

    images = torch.randn(8, 4)
    plain = gradients(networks, images)
    compile_networks(networks)
    said = r"networks cannot be compiled here \(.*/no/compiler.*\), and are computed as they are$"
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "/no/compiler")}),
        pytest.warns(UserWarning, match=said) as warned,
    ):
        fallen_back = gradients(networks, images)
    assert len([warning for warning in warned if re.search(said, str(warning.message))]) == 1
    assert all(torch.equal(*pair) for pair in zip(plain, fallen_back, strict=True))


@has_compiler
def test_kernels_of_the_compiler_give_the_same_gradients_and_names(networks):
    import torch._dynamo.utils

    images = torch.randn(8, 4)
    plain, names = gradients(networks, images), list(networks.state_dict())
    torch._dynamo.utils.counters.clear()
    compile_networks(networks)
    compiled = gradients(networks, images)
    assert torch._dynamo.utils.counters["inductor"]
    assert list(networks.state_dict()) == names
    for pair in zip(compiled, plain, strict=True):
        torch.testing.assert_close(*pair)


@pytest.mark.slow
@has_compiler
def test_compiled_run_learns_what_a_plain_one_learns_and_continues_with_the_same_bits(train):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="training.compile")
        compiled = train("compiled", compile=True)
        torch.compiler.reset()
        with pytest.raises(Interrupted):
            train("continued", compile=True, listeners=[SignalAt()])
        torch.compiler.reset()  # as in a new process
        continued = train("continued", compile=True, resume=True)
    assert all(torch.equal(value, weights(continued)[name]) for name, value in weights(compiled).items())
    plain, start = train("plain"), train("start", learning_rate=1e-12)
    assert weights(compiled).keys() == weights(plain).keys()
    assert distance(compiled, plain) < 0.02 * distance(plain, start)


@has_compiler
@pytest.mark.parametrize(
    "view",
    [
        Jitter(JitterConfig(saturation=0.2, hue=0.1)),
        Jitter(JitterConfig(clip=(0.0, 1.0))),
        Grayscale(GrayscaleConfig(p=0.5)),
        Blur(BlurConfig(p=0.5)),
    ],
    ids=["colour jitter", "jitter", "grayscale", "blur"],
)
def test_compiled_view_changes_any_number_of_images_as_the_plain_one_does(view):
    rng = np.random.default_rng(0)
    images, parameters = torch.from_numpy(rng.random((16, 3, 24, 24), np.float32)), torch.from_numpy(view.draw(rng, 16))
    expected = view(images, parameters)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="training.compile")
        compile_views([view])
        for num in (16, 5, 9, 1):
            torch.testing.assert_close(view(images[:num], parameters[:num]), expected[:num], rtol=1e-5, atol=1e-6)
