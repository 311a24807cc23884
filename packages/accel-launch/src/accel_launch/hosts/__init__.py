"""All machines of a run from one command: their launchers are started over ssh, and followed from here.

`hosts_plan` is the way through. `listing` reads the machines, `assigning` decides what each gets, `ssh` is how each
is reached, `gathering` has all of them ready before any rank starts, `following` carries the run to its end, and
`outcome` is its one result. `machine` is the far side, and `showing` prints what would be done. `carrying` brings
code and launcher there (``--sync``), and `network` tries the links (``--check_network``).
"""
