# reduces all the time | ranks 3 | gloo
while True:
    t = torch.tensor([float(left())]); dist.all_reduce(t, op=dist.ReduceOp.MIN)
    time.sleep(0.05)
    if not t: break
