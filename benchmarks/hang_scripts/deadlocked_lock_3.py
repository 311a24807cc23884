# deadlocked lock
def stuck():
    queue.Queue().get()  # HERE
