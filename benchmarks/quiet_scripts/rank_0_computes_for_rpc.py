# rank 0 computes for RPC | ranks 2 | gloo
import torch.distributed.rpc as rpc
def work(seconds):
    torch.set_num_threads(1)
    until, x = time.monotonic() + seconds, torch.ones(64, 64)
    while time.monotonic() < until:
        x = torch.tanh(x @ x.T / 64)
    return float(x[0, 0])
def ask():
    while left():
        rpc.rpc_sync("w0", work, args=(4,), timeout=0)
dist.barrier()
os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
rpc.init_rpc(f"w{RANK}", rank=RANK, world_size=WORLD)
if RANK == 1: ask()
rpc.shutdown()
