# deadlocked lock
LOCK = threading.Lock()


def stuck():
    LOCK.acquire()
    LOCK.acquire()  # HERE
