# sorts and shuffles | ranks 1 | alone
d = list(range(50000))
while left():
    random.shuffle(d); d.sort()
