# dead child that holds a pipe
def stuck():
    subprocess.run(['sh', '-c', 'sleep 10000 & exit 1'], stdout=subprocess.PIPE)  # HERE
