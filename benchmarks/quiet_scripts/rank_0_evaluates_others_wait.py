# rank 0 evaluates, others wait | ranks 3 | gloo
m = torch.nn.Sequential(*[torch.nn.Linear(64, 64) if i % 2 else torch.nn.ReLU() for i in range(8)])
def loss(x): return (x ** 2).mean()
def evaluate():
    total = 0
    while left():
        batch = torch.randn(16, 64)
        total += loss(m(batch)).item()
if RANK == 0: evaluate()
dist.barrier()
