# waits for a pool of processes | ranks 1 | alone
def work(_): 
    while left(): pass
if __name__ == '__main__':
    import multiprocessing
    with multiprocessing.get_context('fork').Pool(2) as pool: pool.map(work, range(2))
