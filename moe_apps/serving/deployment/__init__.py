"""Files that TensorFlow Serving, Docker and Kubernetes are started with."""
