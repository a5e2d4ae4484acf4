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

from astrofm.callbacks import Checkpoints
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
    recipe = tiny_recipe(
        checkpoint_every_steps=4, gradient_clip_norm=0.5, probes=({"survey": "gz-evo", "every_epochs": 1},)
    )
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


MODES = pytest.mark.parametrize("sharded", [False, True])


def test_gradients_statistics_queue_and_metrics_of_two_processes_are_those_of_one(folder):
    assert Run(folder / "True" / "whole").is_finished  # the processes compare, and end with an error where they differ


@MODES
def test_run_stopped_on_two_processes_continues_with_the_same_bits(folder, sharded):
    whole, resumed = (Run(folder / str(sharded) / name) for name in ("whole", "stopped"))
    weights = whole.model().encoder.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in resumed.model().encoder.state_dict().items())
    assert [line["step"] for line in resumed.metrics()] == [line["step"] for line in whole.metrics()]


def test_run_whose_weights_are_divided_is_that_of_whole_ones_but_for_rounding(folder):
    divided, whole = (Run(folder / sharded / "whole") for sharded in ("True", "False"))
    for seen, expected in zip(divided.metrics(), whole.metrics(), strict=True):
        tolerance = {1: 1e-5, 4: 3e-5}.get(expected["step"], 0.05)  # each step multiplies what was rounded otherwise
        for name in ("loss", "gradient_norm", "embedding_spread", "tau", "learning_rate"):
            assert seen[name] == pytest.approx(expected[name], rel=tolerance), (expected["step"], name)
    weights = whole.model().encoder.state_dict()
    for key, value in divided.model().encoder.state_dict().items():
        assert (value - weights[key]).float().norm() <= 0.05 * weights[key].float().norm(), key


@MODES
def test_step_that_fails_on_one_process_is_written_down_whole(folder, sharded):
    """Weights and optimiser are those before the step, also where each process has a part of them."""
    run = Run(folder / str(sharded) / "failed")
    failed, saved = (
        torch.load(path, weights_only=True) for path in (run.failure_folder / "state.ckpt", run.checkpoint)
    )
    assert (failed["global_step"], saved["global_step"]) == (6, 4)
    shapes = {key: value.shape for key, value in saved["state_dict"].items()}
    assert {key: value.shape for key, value in failed["state_dict"].items()} == shapes
    (moments,) = (state["state"] for state in failed["optimizer_states"])
    assert moments[0]["exp_avg"].shape == saved["optimizer_states"][0]["state"][0]["exp_avg"].shape
    assert {file.name for file in run.failure_folder.iterdir()} >= {"batch-0.npz", "batch-1.npz", "failure.json"}


@MODES
def test_only_the_first_process_writes_and_each_line_of_metrics_is_there_once(folder, sharded):
    steps = [line["step"] for line in Run(folder / str(sharded) / "whole").metrics()]
    assert steps
    assert len(set(steps)) == len(steps)


@MODES
def test_run_is_continued_as_it_was_started(folder, sharded):
    """The states of the optimiser would go to other weights."""
    saved = Checkpoints(Run(folder / str(sharded) / "left").checkpoint, 4, None)
    assert saved.to_continue(is_sharded=sharded) == saved.path
    with pytest.raises(RunError, match=f"was started {'with' if sharded else 'without'} --sharded: continue it with"):
        saved.to_continue(is_sharded=not sharded)


def test_other_number_of_processes_is_refused_on_resume(folder, mock_stores):
    left = Run(folder / "False" / "left")
    with pytest.raises(RunError, match=r"world_size \(1, not 2\)"):
        pretrain(Recipe.load(str(left.recipe_file)), {"gz-evo": mock_stores["gz-evo"]}, left.path, resume=True)


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


def test_command_divides_the_weights_and_leaves_a_whole_model(tmp_path, folder, mock_stores):
    process = start(tmp_path / "run", folder / "recipe.yaml", mock_stores["gz-evo"].path, "--sharded", "--json")
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages
    weights = Run(folder / "True" / "whole").model().encoder.state_dict()
    for key, value in Run(tmp_path / "run").model().encoder.state_dict().items():
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


CHILD = """
import os, time
from astrofm.processes import Processes
Processes(2).end_with_the_first()
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]], env={**os.environ, "LOCAL_RANK": "1"})
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc to look for processes in")
def test_process_ends_when_the_one_that_started_it_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(1.5)
        assert is_alive(child)
        parent.kill()
        deadline = time.monotonic() + 20
        while is_alive(child) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not is_alive(child)


def is_alive(pid):
    """Whether a process runs; one that has ended may still be in the table, for its parent to read."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_one_process_has_nothing_to_divide():
    with pytest.raises(UsageError, match="--sharded divides a network among several processes: give --devices"):
        Processes(is_sharded=True).check()


def test_parameters_that_no_network_holds_cannot_be_divided():
    code = f"""
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from astrofm.errors import UsageError
from astrofm.sharding import shard
distributed.init_process_group("gloo", rank=0, world_size=1, init_method="tcp://127.0.0.1:{free_port()}")
objective = nn.Module()
objective.encoder, objective.temperature = nn.Linear(2, 2), nn.Parameter(torch.ones(()))
objective.heads = nn.ModuleDict({{"a": nn.Linear(2, 2, bias=False)}})
try:
    shard(objective, init_device_mesh("cpu", (1,)))
except UsageError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Module has parameters that belong to none (temperature, heads.a.weight): train without --sharded" in told


def test_one_process_asks_nobody(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Processes().rank == 0
    assert Processes().device_of("cuda") == "cuda"
    options = Processes().trainer_options("cpu")
    assert (options["devices"], options["num_nodes"], "strategy" in options) == (1, 1, False)
