# trains without a word | ranks 2 | gloo
m = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(256, 256))
o = torch.optim.SGD(m.parameters(), 0.01)
while True:
    o.zero_grad(); m(torch.randn(64, 256)).sum().backward(); o.step()
    t = torch.tensor([float(left())]); dist.all_reduce(t, op=dist.ReduceOp.MIN)
    if not t: break
