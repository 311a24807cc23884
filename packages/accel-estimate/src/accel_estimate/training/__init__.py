"""Memory of training: parameters, gradients, optimizer states, activations."""
