# rank 1 computes in C, others wait | ranks 2 | gloo
a = torch.randn(600, 600)
if RANK == 1:
    while left(): torch.linalg.svd(a)
dist.barrier()
