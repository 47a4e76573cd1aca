"""A server for machines without TensorFlow Serving, with its REST and gRPC interface."""
