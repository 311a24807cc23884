# dead child that holds a pipe
def stuck():
    first, second = os.pipe()
    os.set_inheritable(second, True)
    subprocess.Popen(['sh', '-c', 'sleep 10000 & exit 1'], pass_fds=[second])
    os.close(second)
    os.read(first, 1)  # HERE
