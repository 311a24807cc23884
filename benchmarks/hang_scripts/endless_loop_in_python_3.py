# endless loop in Python
def stuck():
    waiting = queue.Queue()
    while waiting.empty():  # HERE
        pass
