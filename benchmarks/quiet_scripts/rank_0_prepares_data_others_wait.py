# rank 0 prepares data, others wait | ranks 2 | gloo
def words(t): return t.split()
def lower(w): return [x.lower() for x in w]
def count(w):
    d = {}
    for x in w: d[x] = d.get(x, 0) + 1
    return d
def prepare():
    text = 'Some Words To Count And More ' * 2000
    while left():
        w = words(text)
        w = lower(w)
        d = count(w)
        s = json.dumps(d)
        h = hashlib.md5(s.encode())
        r = sorted(d)
if RANK == 0: prepare()
dist.barrier()
