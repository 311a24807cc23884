# sleep
def stuck():
    threading.Event().wait()  # HERE
