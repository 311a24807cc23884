# mismatched collectives
def stuck():
    dist.barrier()  # HERE
