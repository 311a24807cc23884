# one long call in C | ranks 1 | alone
while left(): sum(range(10 ** 8))
