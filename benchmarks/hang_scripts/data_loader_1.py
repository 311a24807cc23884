# data loader
class Data(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, at):
        if at > 8: time.sleep(10000)
        return torch.ones(1)
LOADER = torch.utils.data.DataLoader(Data(), batch_size=4, num_workers=2)


def stuck():
    for batch in LOADER:  # HERE
        pass
