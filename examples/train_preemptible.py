"""Train so that a preemption costs nothing: save on SIGTERM or SIGUSR1, and go on from there, bit for bit.

    accelerate launch --cpu --num_processes 2 examples/train_preemptible.py --checkpoint checkpoint.pt

Launch the same command again after a preemption. The exit status is 0 when training has finished, and 75
(EX_TEMPFAIL: try again later) when it was told to stop. The task is made up, so nothing but torch is needed.
"""

import os
import signal

told = False


def tell(_signal: int, _frame: object) -> None:
    """Remember that the machine is taken back soon: the loop stops at its next step."""
    global told  # noqa: PLW0603
    told = True


# First of all: the imports take seconds, and a signal without a handler ends a process.
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, tell)

import argparse  # noqa: E402
import hashlib  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402

AGAIN = 75
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def main() -> int:
    """Train, and return the exit status."""
    arguments = parse()
    if WORLD > 1:
        dist.init_process_group("gloo")
    torch.use_deterministic_algorithms(True)
    training = Training(arguments.seed)
    if arguments.checkpoint.exists():
        training.load(arguments.checkpoint)
    stop = False
    while training.done < arguments.steps and not stop:
        training.step()
        if RANK == 0 and training.done % 20 == 0:
            print(f"step {training.done}", flush=True)
        # The signal reaches each rank at another moment: all stop after the same step, or none does.
        stop = on_any_rank(told)
        if stop or training.done == arguments.steps or training.done % arguments.save_every == 0:
            training.save(arguments.checkpoint)
    if RANK == 0:
        print(f"{training.done} of {arguments.steps} steps, weights {training.digest()}", flush=True)
    if WORLD > 1:
        dist.barrier()  # until rank 0 has saved
        dist.destroy_process_group()
    return 0 if training.done >= arguments.steps else AGAIN


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="file to save to, and to go on from")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--save-every", type=int, default=500, help="steps, against crashes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Training:
    """All that training depends on: the model, the optimizer, the random numbers, and the position in the data."""

    def __init__(self, seed: int) -> None:
        """Begin from the start."""
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.seed, self.done = seed, 0
        torch.manual_seed(seed + RANK)  # each rank drops out other units

    def step(self) -> None:
        """Train on a batch that follows from the number of the step: so that number is the position in the data."""
        source = torch.Generator().manual_seed((self.seed * 1_000_003 + self.done) * WORLD + RANK)
        inputs = torch.rand(32, 64, generator=source)
        labels = inputs[:, :10].argmax(1)
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(inputs), labels).backward()
        average([one.grad for one in self.model.parameters() if one.grad is not None])
        self.optimizer.step()
        self.done += 1

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all: a second signal, or a crash, can't leave half of one."""
        random = [torch.get_rng_state()]
        if WORLD > 1:
            random = [torch.empty_like(random[0]) for _ in range(WORLD)]
            dist.all_gather(random, torch.get_rng_state())
        if RANK != 0:
            return
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "random": random,
        }
        new = path.with_name(path.name + ".new")
        with new.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        progress = os.environ.get("ACCELERATE_PROGRESS_FILE")
        if progress:  # so the launcher knows how far a run came that crashes later
            Path(progress).write_text(str(self.done))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content: dict[str, Any] = torch.load(path, weights_only=True)
        if len(content["random"]) != WORLD:
            raise SystemExit(f"{path} is of {len(content['random'])} ranks; start as many, not {WORLD}")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"][RANK])
        self.done = content["done"]

    def digest(self) -> str:
        """Return a digest of the weights."""
        return hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in self.model.parameters())).hexdigest()


def average(gradients: list[torch.Tensor]) -> None:
    """Average gradients over the ranks, always in the same order.

    DistributedDataParallel groups them in another order in its first step than later. With more than two ranks the
    last bits of a sum depend on the order, and so on where training began.
    """
    if WORLD == 1:
        return
    together = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(together)
    for one, part in zip(gradients, together.split([one.numel() for one in gradients]), strict=True):
        one.copy_(part.view_as(one) / WORLD)


def on_any_rank(mine: bool) -> bool:
    """Return whether it is true on any rank."""
    if WORLD == 1:
        return mine
    flag = torch.tensor(float(mine))
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


if __name__ == "__main__":
    sys.exit(main())
