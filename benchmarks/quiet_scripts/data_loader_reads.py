# data loader reads | ranks 2 | gloo
open(f'data{RANK}', 'wb').write(bytes(1 << 22))
class Data(torch.utils.data.Dataset):
    def __len__(self): return 1 << 20
    def __getitem__(self, at):
        time.sleep(0.3)
        f = open(f'data{RANK}', 'rb'); f.seek((at % 64) << 16)
        f.read(1 << 16)
        return torch.ones(1)
for batch in torch.utils.data.DataLoader(Data(), batch_size=16, num_workers=1):
    t = torch.tensor([float(left())]); dist.all_reduce(t, op=dist.ReduceOp.MIN)
    if not t: break
