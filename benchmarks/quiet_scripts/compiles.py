# compiles | ranks 2 | gloo
import torch._dynamo
def build(n):
    def f(x):
        for i in range(n): x = torch.sin(x) + i
        return x
    return f
n = 1
if RANK == 0:
    while left():
        n += 1
        torch._dynamo.reset(); torch.compile(build(20 + n % 7), backend='aot_eager')(torch.ones(4))
dist.barrier()
