# stopped (SIGSTOP)
def stuck():
    os.kill(os.getpid(), signal.SIGSTOP)  # HERE
