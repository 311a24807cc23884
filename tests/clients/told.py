"""A script to launch: prints the environment that it was given, once."""

import json
import os

if os.environ.get("RANK", "0") == "0":
    print(json.dumps(dict(os.environ)))
