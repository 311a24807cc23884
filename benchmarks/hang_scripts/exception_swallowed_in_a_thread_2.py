# exception swallowed in a thread
READY = threading.Event()
def work():
    try:
        raise RuntimeError('lost')
    except Exception:
        return


def stuck():
    threading.Thread(target=work).start()
    READY.wait()  # HERE
