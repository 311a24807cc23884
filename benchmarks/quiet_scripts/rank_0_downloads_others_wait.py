# rank 0 downloads, others wait | ranks 2 | gloo
if RANK == 0: download()
dist.barrier()
