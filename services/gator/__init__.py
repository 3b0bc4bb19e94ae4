"""Generated protobuf and gRPC stubs of protos/gator. `make protos` writes them."""
