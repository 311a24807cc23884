# deadlocked lock
A, B = threading.Lock(), threading.Lock()
def other():
    with B:
        time.sleep(0.5)
        A.acquire()


def stuck():
    with A:
        threading.Thread(target=other, daemon=True).start()
        time.sleep(0.2)
        B.acquire()  # HERE
