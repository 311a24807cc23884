"""The links between the machines of ``--hosts``, tried before any rank starts (``--check_network``).

`checking` leads all machines through the rounds, `trial` is a machine's part in them, `greeting` how two machines
know each other, and `figures` what is told of the result.
"""
