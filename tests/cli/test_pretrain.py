import re

import pytest


@pytest.mark.parametrize(("mock", "fewer"), [(60, True), (400, False)])
def test_what_comes_next_asks_for_no_more_labels_than_there_are(astrofm, tmp_path, mock, fewer):
    words = ["--survey", "mirabest", "--mock", mock, "--out", tmp_path / "run"]
    ended = astrofm("pretrain", *words, "--set", "training.max_steps=1", "--device", "cpu")
    assert ended.code == 0
    (command,) = re.findall(r"next: astrofm (transfer .*)", ended.stderr)
    labels = int(re.findall(r"--labels (\d+)", command)[0])
    assert labels < 60 if fewer else labels == 145
    if fewer:
        assert astrofm(*command.split(), "--mode", "knn", "--seeds", 1).code == 0
