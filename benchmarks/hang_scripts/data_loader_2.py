# data loader
class Data(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, at):
        if at > 8: time.sleep(10000)  # HERE
        return torch.ones(1)
LOADER = torch.utils.data.DataLoader(Data(), batch_size=4)


def stuck():
    for batch in LOADER:
        pass
