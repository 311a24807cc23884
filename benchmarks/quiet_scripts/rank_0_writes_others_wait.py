# rank 0 writes, others wait | ranks 3 | gloo
if RANK == 0:
    f = open('ck', 'wb')
    while left():
        f.write(bytes(1 << 18)); f.flush(); time.sleep(0.2)
dist.barrier()
