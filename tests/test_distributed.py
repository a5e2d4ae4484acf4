"""Training on two processes: the gradients, runs and files are those of one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from astrofm.errors import RunError, UsageError
from astrofm.pretrain import pretrain
from astrofm.processes import Processes
from astrofm.recipe import Recipe
from astrofm.run import Run


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return str(chosen.getsockname()[1])


@pytest.fixture(scope="module")
def folder(mock_stores, tiny_recipe, tmp_path_factory):
    """Folder of the runs that two processes made, after all that they compare with one process."""
    folder = tmp_path_factory.mktemp("two-processes")
    recipe = tiny_recipe(checkpoint_every_steps=4, probes=({"survey": "gz-evo", "every_epochs": 1},))
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    command = [sys.executable, "-W", "error", Path(__file__).with_name("two_processes.py"), mock_stores["gz-evo"].path]
    started = [
        subprocess.Popen(
            [*command, folder / "recipe.yaml", folder],
            env={**os.environ, **common, "TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)
    return folder


def test_gradients_statistics_queue_and_metrics_of_two_processes_are_those_of_one(folder):
    assert Run(folder / "whole").is_finished  # the processes compare before they train


def test_run_stopped_on_two_processes_continues_with_the_same_bits(folder):
    whole, resumed = (Run(folder / name).model() for name in ("whole", "stopped"))
    weights = whole.encoder.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in resumed.encoder.state_dict().items())
    assert [line["step"] for line in Run(folder / "stopped").metrics()] == [
        line["step"] for line in Run(folder / "whole").metrics()
    ]


def test_only_the_first_process_writes_and_each_line_of_metrics_is_there_once(folder):
    steps = [line["step"] for line in Run(folder / "whole").metrics()]
    assert steps
    assert len(set(steps)) == len(steps)


def test_other_number_of_processes_is_refused_on_resume(folder, mock_stores):
    recipe = Recipe.load(str(Run(folder / "left").recipe_file))
    with pytest.raises(RunError, match=r"world_size \(1, not 2\)"):
        pretrain(recipe, {"gz-evo": mock_stores["gz-evo"]}, folder / "left", resume=True)


def start(out, recipe, store, *words):
    """Start the command that a user gives, which starts the second process by itself."""
    command = [sys.executable, "-m", "astrofm", "pretrain", "--config", recipe, "--store", store, "--out", out]
    return subprocess.Popen(
        [*command, "--device", "cpu", "--devices", "2", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_command_stopped_by_sigterm_ends_both_processes_and_continues_with_the_same_bits(
    tmp_path, mock_stores, tiny_recipe
):
    store, recipe = mock_stores["gz-evo"].path, tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(max_steps=60, checkpoint_every_steps=4).to_yaml())
    whole = start(tmp_path / "whole", recipe, store, "--json")
    told, messages = whole.communicate(timeout=300)
    assert whole.returncode == 0, messages
    assert json.loads(told)["step"] == 60  # one document: the second process prints nothing

    stopped = start(tmp_path / "stopped", recipe, store)
    while not Run(tmp_path / "stopped").checkpoint.exists():
        assert stopped.poll() is None, stopped.stderr.read()
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, messages = stopped.communicate(timeout=300)  # it waits for every process that holds the pipe
    assert stopped.returncode == 143, messages
    assert messages.count("continue with --resume") == 1

    resumed = start(tmp_path / "stopped", recipe, store, "--resume")
    assert resumed.communicate(timeout=300)
    assert resumed.returncode == 0
    weights = Run(tmp_path / "whole").model().encoder.state_dict()
    for key, value in Run(tmp_path / "stopped").model().encoder.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_rank_and_number_follow_from_slurm_and_a_job_of_another_size_is_refused(monkeypatch):
    job = {
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_NTASKS": "8",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert Processes(4, 2).rank == 5
    assert Processes(4, 2).device_of("cuda") == "cuda:1"
    Processes(4, 2).check()
    for given in (Processes(), Processes(4)):
        with pytest.raises(UsageError, match="8 were started"):
            given.check()


def test_one_process_asks_nobody(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Processes().rank == 0
    assert Processes().device_of("cuda") == "cuda"
    options = Processes().trainer_options("cpu")
    assert (options["devices"], options["num_nodes"], "strategy" in options) == (1, 1, False)
