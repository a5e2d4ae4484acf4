"""The lines that a run prints while it trains."""

import pytest

from astrofm.cli.training_progress import TrainingProgress
from astrofm.listener import StepInfo


@pytest.fixture
def line(capsys):
    """Return what is printed of a step with some metrics, where stderr is no terminal."""

    def printed(step=50, **metrics):
        with TrainingProgress() as shown:
            shown.on_step(StepInfo(step, 100, 0, metrics, images_per_second=90.4, wait_share=0.01))
        return capsys.readouterr().err

    return printed


def test_line_has_pace_loss_and_spread(line):
    assert line(loss=1.25, tau=0.99, embedding_spread=0.5, gradient_norm=3.0) == (
        "step 50/100, epoch 1: 90 images/s, 1% waiting, loss 1.25, tau 0.99, spread 0.5\n"
    )


def test_parts_of_a_loss_stand_for_their_balanced_sum(line):
    """The sum of the two losses of hybrid is 2 at every step with a weight of 1."""
    printed = line(loss=2.0, loss_contrastive=0.46, loss_supervised=0.7)
    assert printed.endswith("waiting, loss contrastive 0.46, loss supervised 0.7\n")


def test_probe_is_printed_at_its_step_and_stays(line, capsys):
    assert line(step=7, loss=1.0) == ""
    assert line(step=7, loss=1.0, knn_error_mirabest=0.133).endswith("loss 1  mirabest kNN error 13.3%\n")
