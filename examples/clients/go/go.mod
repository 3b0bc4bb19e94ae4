module gator.example/render

go 1.19

require (
	google.golang.org/genproto v0.0.0-20230526161137-0005af68ea54
	google.golang.org/grpc v1.56.3
	google.golang.org/protobuf v1.31.0
)
