# a straggler, step after step | ranks 3 | gloo
a = torch.randn(300, 300)
while True:
    if RANK == 2:
        end = time.monotonic() + 9
        while time.monotonic() < end: torch.linalg.svd(a)
    t = torch.tensor([float(left())]); dist.all_reduce(t, op=dist.ReduceOp.MIN)
    if not t: break
