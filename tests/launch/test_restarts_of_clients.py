"""Libraries and the pattern of torch's own examples, as clients of restarts: each resumes from its checkpoint."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, needs_torch
from tests.environments import environment
from tests.launch.processes import Script

N2 = ("--cpu", "--num_processes", "2")
KILLED = """
def killed_after(epoch):
    import os
    count = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if os.environ["RANK"] == "1" and count < 2 and epoch == 2 * count:
        os.kill(os.getpid(), 9)
"""

# As in torch's tutorials on fault tolerance: a snapshot after each epoch, read by whoever starts.
TORCHS = (
    KILLED
    + """
import os, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

class Trainer:
    def __init__(self, model, data, snapshot_path):
        self.epochs_run, self.snapshot_path, self.data = 0, snapshot_path, data
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if os.path.exists(snapshot_path):
            snapshot = torch.load(snapshot_path)
            model.load_state_dict(snapshot["MODEL_STATE"])
            self.epochs_run = snapshot["EPOCHS_RUN"]
            print(f"Resuming training from snapshot at Epoch {self.epochs_run}", flush=True)
        self.model = DDP(model)

    def train(self, epochs):
        for epoch in range(self.epochs_run, epochs):
            self.data.sampler.set_epoch(epoch)
            for source, target in self.data:
                self.optimizer.zero_grad()
                torch.nn.functional.mse_loss(self.model(source), target).backward()
                self.optimizer.step()
            if os.environ["LOCAL_RANK"] == "0":
                snapshot = {"MODEL_STATE": self.model.module.state_dict(), "EPOCHS_RUN": epoch + 1}
                torch.save(snapshot, self.snapshot_path + ".part")
                os.replace(self.snapshot_path + ".part", self.snapshot_path)
            dist.barrier()
            killed_after(epoch) if len(sys.argv) > 2 else None

dist.init_process_group("gloo")
torch.manual_seed(0)
points = torch.rand(64, 20)
dataset = TensorDataset(points, points.sum(1, keepdim=True))
model = torch.nn.Linear(20, 1)
trainer = Trainer(model, DataLoader(dataset, batch_size=8, sampler=DistributedSampler(dataset)), sys.argv[1])
trainer.train(6)
if os.environ["RANK"] == "0":
    print("weights", [round(w, 7) for w in model.weight[0].tolist()], flush=True)
dist.destroy_process_group()
"""
)


def weights(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line with the weights; a line that another rank has printed earlier may follow it."""
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("weights ")]
    return found


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_torchs_tutorial(accelerate: Run, script: Script, tmp_path: Path) -> None:
    """A run that is killed twice ends with the weights of one that isn't.

    One process imports torch for the ranks of all attempts; test_restarts.py has ranks that import it themselves.
    """
    path = script(TORCHS)
    once = (*N2, "--preload", "torch")
    whole = accelerate("launch", *once, path, tmp_path / "undisturbed.pt", timeout=400)
    done = accelerate("launch", *once, "--max_restarts", "3", path, tmp_path / "snapshot.pt", "killed", timeout=400)
    assert "not preloaded" not in whole.stderr + done.stderr
    assert (whole.returncode, done.returncode) == (0, 0), done.stderr
    assert re.findall(r"snapshot at Epoch (\d)", done.stdout) == ["1", "1", "3", "3"]
    assert weights(done) == weights(whole)


HUGGING_FACES = (
    KILLED
    + """
import sys, torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
set_seed(0)
project = ProjectConfiguration(project_dir=sys.argv[1], automatic_checkpoint_naming=True, total_limit=2)
accelerator = Accelerator(project_config=project)
points = torch.rand(64, 4)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(points, points.sum(1, keepdim=True)), batch_size=8)
model = torch.nn.Linear(4, 1)
model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)

class Epoch:
    done = 0
    def state_dict(self): return {"done": self.done}
    def load_state_dict(self, state): self.done = state["done"]

epoch = Epoch()
accelerator.register_for_checkpointing(epoch)
import os
if os.path.isdir(os.path.join(sys.argv[1], "checkpoints")):
    accelerator.load_state()
    project.iteration = epoch.done
    print("resumed at", epoch.done, accelerator.distributed_type.value, flush=True)
while epoch.done < 6:
    for source, target in loader:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.mse_loss(model(source), target))
        optimizer.step()
    epoch.done += 1
    accelerator.save_state()
    accelerator.print("epoch", epoch.done, flush=True)
    accelerator.wait_for_everyone()
    killed_after(epoch.done - 1) if len(sys.argv) > 2 else None
accelerator.print("weights", [round(w, 7) for w in accelerator.unwrap_model(model).weight[0].tolist()], flush=True)
accelerator.end_training()
"""
)


def launcher(where: Path, environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what launches in an environment that has the library."""

    def launched(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [where / "accel", "launch", *N2, *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=280)

    return launched


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_hugging_faces_library(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    launched = launcher(environment("hf"), environ)
    path = script(HUGGING_FACES)
    whole = launched(path, tmp_path / "undisturbed")
    done = launched("--max_restarts", "3", path, tmp_path / "project", "killed")
    assert (whole.returncode, done.returncode) == (0, 0), done.stderr
    assert re.findall(r"resumed at (\d) MULTI_CPU", done.stdout) == ["1", "1", "3", "3"]
    assert weights(done) == weights(whole)


LIGHTNINGS = (
    KILLED
    + """
import os, sys, torch, lightning
from lightning.pytorch.callbacks import ModelCheckpoint

class Fit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, _place):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[0].sum(1, keepdim=True))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
    def on_train_epoch_start(self):
        print("epoch", self.current_epoch, flush=True)
        if os.path.exists(last):
            self.trainer.strategy.barrier()
            killed_after(self.current_epoch - 1) if len(sys.argv) > 2 else None
            self.trainer.strategy.barrier()

lightning.seed_everything(0)
last = os.path.join(sys.argv[1], "last.ckpt")
if os.path.exists(last):
    print("resumes", os.environ["TORCHELASTIC_RESTART_COUNT"], flush=True)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(64, 4)), batch_size=8)
trainer = lightning.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=6, logger=False, enable_progress_bar=False,
    callbacks=[ModelCheckpoint(dirpath=sys.argv[1], save_last=True, save_top_k=1)],
)
model = Fit()
trainer.fit(model, loader, ckpt_path=last if os.path.exists(last) else None)
if trainer.global_rank == 0:
    print("weights", type(trainer.strategy.cluster_environment).__name__, model.layer.weight[0].tolist(), flush=True)
"""
)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_lightning(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    launched = launcher(environment("lightning"), environ)
    path = script(LIGHTNINGS)
    whole = launched(path, tmp_path / "undisturbed")
    done = launched("--max_restarts", "3", path, tmp_path / "folder", "killed")
    assert (whole.returncode, done.returncode) == (0, 0), done.stderr
    assert re.findall(r"resumes (\d)", done.stdout) == ["1", "1", "2", "2"]
    assert weights(done) == weights(whole)
    assert weights(done).startswith("weights TorchElasticEnvironment ")
