# computes in Python, on every rank | ranks 3 | alone
x = 0
while left(): x = (x * 31 + 7) % 1000003
