"""From a model's name to a report: find the model, estimate each part, compare with a device."""
