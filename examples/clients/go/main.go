// Creates a render, watches it to its end, and downloads its video.
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.31.0
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0
//	(cd ../../.. && buf generate --template examples/clients/go/buf.gen.yaml -o examples/clients/go \
//	  --path protos/gator/gateway --path protos/gator/type)
//	go mod tidy
//	go run . HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
//
// GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	pb "gator.example/render/gen/gator/gateway/v1"
	typepb "gator.example/render/gen/gator/type/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}
func (token) RequireTransportSecurity() bool { return true }

func dial(target string) *grpc.ClientConn {
	options := []grpc.DialOption{ // a dead link is noticed though nothing is sent on it
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
	if ca := os.Getenv("GATOR_CA_FILE"); ca == "" {
		options = append(options, grpc.WithInsecure())
	} else {
		tls, err := credentials.NewClientTLSFromFile(ca, "")
		check(err)
		options = append(options, grpc.WithTransportCredentials(tls))
		if t := os.Getenv("GATOR_TOKEN"); t != "" {
			options = append(options, grpc.WithPerRPCCredentials(token(t)))
		}
	}
	connection, err := grpc.Dial(target, options...)
	check(err)
	return connection
}

// retried tries again while the server cannot be reached, for about a minute. What once remembers
// between two tries (an event's number, an offset) makes the second go on where the first was.
func retried(once func() error) {
	for delay := 200 * time.Millisecond; ; delay *= 2 {
		err := once()
		if status.Code(err) != codes.Unavailable || delay > 30*time.Second {
			check(err)
			return
		}
		time.Sleep(delay)
	}
}

func check(err error) {
	if s, ok := status.FromError(err); err != nil && ok {
		log.Fatalf("render failed: %v: %s", s.Code(), s.Message())
	} else if err != nil {
		log.Fatal(err)
	}
}

// each hands on what a stream brings, to its end.
func each[T any](receive func() (T, error), handle func(T)) error {
	for {
		message, err := receive()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		handle(message)
	}
}

func watch(client pb.RenderServiceClient, id string) (last *pb.Render) {
	asked := &pb.WatchRenderRequest{RenderId: id}
	retried(func() error {
		stream, err := client.WatchRender(context.Background(), asked)
		if err != nil {
			return err
		}
		return each(stream.Recv, func(event *pb.WatchRenderResponse) {
			asked.AfterSequence = event.Sequence
			if progress := event.GetProgress(); progress != nil {
				log.Printf("%.0f%%", 100*progress.Fraction)
			}
			if render := event.GetRender(); render != nil {
				last = render // as the stream ends, this is how the render ended
				log.Print(render.State)
			}
		})
	})
	return last
}

func download(client pb.RenderServiceClient, id, path string) []byte {
	asked := &pb.DownloadVideoRequest{RenderId: id}
	sum := sha256.New()
	file, err := os.Create(path)
	check(err)
	retried(func() error {
		stream, err := client.DownloadVideo(context.Background(), asked)
		if err != nil {
			return err
		}
		return each(stream.Recv, func(part *pb.DownloadVideoResponse) {
			if header := part.GetHeader(); header != nil {
				asked.ContentTag = header.ContentTag
			}
			n, err := io.MultiWriter(file, sum).Write(part.GetChunk().GetData())
			check(err)
			asked.Offset += uint64(n)
			if trailer := part.GetTrailer(); trailer != nil && !bytes.Equal(trailer.Sha256, sum.Sum(nil)) {
				log.Fatal("the video is damaged")
			}
		})
	})
	check(file.Close())
	return sum.Sum(nil)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("usage: render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...")
	}
	out, id := os.Args[2], make([]byte, 16)
	_, err := rand.Read(id)
	check(err)
	request := &pb.RenderRequest{
		Quality:          typepb.Quality(typepb.Quality_value["QUALITY_"+strings.ToUpper(os.Args[3])]),
		DurationPerFrame: durationpb.New(time.Second),
		RequestId:        fmt.Sprintf("%x", id), // safe to repeat
	}
	for _, prompt := range os.Args[4:] {
		request.Scenes = append(request.Scenes, &pb.Scene{Prompt: prompt})
	}
	connection := dial(os.Args[1])
	defer connection.Close()
	client := pb.NewRenderServiceClient(connection)

	var render *pb.Render
	retried(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		created, err := client.CreateRender(ctx, &pb.CreateRenderRequest{Render: request})
		render = created.GetRender()
		return err
	})
	render = watch(client, render.RenderId)
	if render.State != pb.RenderState_RENDER_STATE_SUCCEEDED {
		log.Fatalf("render failed: %v: %s", render.State, render.GetError().GetMessage())
	}
	sum := download(client, render.RenderId, out+".part")
	check(os.Rename(out+".part", out)) // the file gets its name once it is whole
	fmt.Printf("%s: %d pictures, %d bytes, sha256 %x\n", out, render.Result.FrameCount, render.Result.SizeBytes, sum)
}
