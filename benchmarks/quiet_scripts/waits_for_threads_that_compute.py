# waits for threads that compute | ranks 1 | alone
def work():
    h = hashlib.sha256()
    while left(): h.update(bytes(1 << 22))
with concurrent.futures.ThreadPoolExecutor(1) as pool: pool.submit(work).result()
