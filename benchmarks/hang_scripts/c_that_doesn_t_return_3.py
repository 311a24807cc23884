# C that doesn't return
def stuck():
    re.match('(a+)+$', 'a' * 64 + 'b')  # HERE
