"""A module that initializes CUDA while it is imported; in a rehearsal torch believes so."""

import torch

if torch.cuda.is_available():
    torch.cuda.init()
else:
    torch.cuda._initialized = True
