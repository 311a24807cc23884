# file that never answers
def stuck():
    path = f'/tmp/fifo-{os.getpid()}'
    os.mkfifo(path)
    os.open(path, os.O_RDONLY)  # HERE
