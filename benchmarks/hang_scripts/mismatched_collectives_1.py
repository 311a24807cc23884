# mismatched collectives
def stuck():
    dist.broadcast(torch.ones(8), src=CULPRIT)  # HERE
    dist.barrier()  # HERE
