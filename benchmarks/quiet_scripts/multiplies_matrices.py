# multiplies matrices | ranks 1 | alone
import torch
a = torch.ones(400, 400)
while left(): a = (a @ a) / 400
