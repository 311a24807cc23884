# downloads | ranks 1 | alone
download()
