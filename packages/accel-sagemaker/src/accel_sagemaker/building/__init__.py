"""The training job as a request: image, instances, arguments, source archive."""
