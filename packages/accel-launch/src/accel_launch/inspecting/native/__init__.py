"""Calls of C, C++ and Rust: each thread stands still while its registers and its stack are copied, and for no more.

`copier` is a program that copies them, `copying` starts it. All the rest is done once the threads go on: `unwinding`
follows the copied stack by the tables that compilers write for exceptions (`tables`, `expressions`) in the files that
the process has mapped (`spaces`, `elf`), `symbols` and `names` name its calls, and `merging` puts Python's own among
them. `reading` is what others call. None of it is imported unless native calls are asked for.
"""
