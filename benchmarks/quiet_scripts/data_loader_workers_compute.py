# data loader workers compute | ranks 2 | gloo
class Data(torch.utils.data.Dataset):
    def __len__(self): return 1 << 20
    def __getitem__(self, at):
        end = time.monotonic() + 3
        while time.monotonic() < end: pass
        return torch.ones(1)
for batch in torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=1):
    t = torch.tensor([float(left())]); dist.all_reduce(t, op=dist.ReduceOp.MIN)
    if not t: break
