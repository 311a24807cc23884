# file that never answers
LIBC = ctypes.CDLL(None, use_errno=True)


def stuck():
    LIBC.unshare(0x20000)  # mounts of its own, which end with it
    LIBC.mount(None, b'/', None, 1 << 18 | 1 << 14, None)
    fuse = os.open('/dev/fuse', os.O_RDWR)
    if LIBC.mount(b'fuse', b'/mnt', b'fuse', 0, f'fd={fuse},rootmode=40000,user_id=0,group_id=0'.encode()):
        os.read(os.pipe()[0], 1)  # HERE  only root may mount
    open('/mnt/file')  # HERE
