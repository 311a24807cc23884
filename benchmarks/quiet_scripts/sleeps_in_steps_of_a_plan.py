# sleeps in steps of a plan | ranks 1 | alone
def warm(): time.sleep(3)
def cool():
    time.sleep(2)
    time.sleep(2)
while left():
    warm()
    cool()
