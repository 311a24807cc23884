"""Started by a launcher: a model under DDP, or sharded by FSDP 2, with what such scripts do."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def block() -> nn.Module:
    return nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))


def main() -> None:
    kind, device = sys.argv[1], torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 128), torch.randint(0, 128, (64,)))
    loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data))
    bare = nn.Sequential(*(block() for _ in range(6))).to(device)
    if kind.startswith("ddp"):
        ids = [device.index] if device.type == "cuda" else None
        model = DistributedDataParallel(bare, device_ids=ids, gradient_as_bucket_view=kind == "ddp-views")
    else:
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for layer in bare:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        model = fully_shard(bare, mesh=mesh, mp_policy=policy)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        for rows, labels in loader:
            loss = nn.functional.cross_entropy(model(rows.to(device)).float(), labels.to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            if dist.get_rank() == 0:
                print(mean.item() / dist.get_world_size())
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
