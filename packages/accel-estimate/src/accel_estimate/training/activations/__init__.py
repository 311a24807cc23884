"""What a training step keeps of its forward pass for the backward pass, counted operation by operation.

The count follows what autograd saves in the eager models of `transformers`. A matrix product keeps its input if its
weight is trained. A gated net keeps three vectors and the input of its last matrix. RMSNorm keeps an fp32 copy and,
if its weight is trained, the normalized vector.

The tests hold the count against PyTorch's own saved tensors (tests/estimate/test_saved_tensors.py). For a Llama
layer in 16 bits with flash attention it comes to 16 h + 2 a d + 2 (a + 2 k) d + 8 f bytes a token. The published
counterpart for GPT is Korthikanti et al., arXiv 2205.05198, equation 2.
"""
