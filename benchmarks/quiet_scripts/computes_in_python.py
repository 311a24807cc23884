# computes in Python | ranks 1 | alone
x = 0
while left(): x += 1
