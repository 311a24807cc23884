# exception swallowed in a thread
ANSWERS = queue.Queue()
def work():
    try:
        raise RuntimeError('lost')
        ANSWERS.put(1)
    except Exception:
        pass


def stuck():
    threading.Thread(target=work).start()
    ANSWERS.get()  # HERE
