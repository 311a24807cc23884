# hashes | ranks 1 | alone
h = hashlib.sha256()
while left(): h.update(bytes(1 << 22))
