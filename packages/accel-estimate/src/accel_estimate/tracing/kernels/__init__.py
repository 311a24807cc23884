"""Stand-ins for the kernels of state spaces, mamba_ssm's and causal_conv1d's, which run on a CUDA device alone.

transformers runs Mamba, Falcon-Mamba and Jamba by them if they are installed, else in loops over tokens. What they
take is told by their sources: mamba_ssm 2.3 (ops/selective_scan_interface.py, csrc/selective_scan/selective_scan.cpp)
and causal_conv1d 1.6 (causal_conv1d_interface.py, cpp_functions.py, csrc/causal_conv1d.cpp). The stand-ins compute
nothing. They allocate, keep for the backward pass and refuse what the kernels do.
"""
