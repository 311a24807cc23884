# one long call in C, without the GIL | ranks 2 | alone
import torch
a = torch.ones(700, 700)
while left(): torch.linalg.svd(a)
