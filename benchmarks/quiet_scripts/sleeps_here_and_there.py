# sleeps here and there | ranks 1 | alone
def a(): time.sleep(1.5)
def b(): time.sleep(1.5)
def c(): time.sleep(1.5)
while left():
    a(); b(); c()
