# file that never answers
def stuck():
    one, two = socket.socketpair()
    one.recv(1)  # HERE
