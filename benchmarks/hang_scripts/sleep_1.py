# sleep
def stuck():
    time.sleep(10000)  # HERE
