# processes JSON | ranks 1 | alone
d = {str(i): list(range(20)) for i in range(2000)}
while left(): json.loads(json.dumps(d))
