// Creates a render, watches it to its end, and downloads its video.
// GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
import com.google.protobuf.Duration;
import gator.gateway.v1.RenderServiceGrpc;
import gator.gateway.v1.RenderServiceGrpc.RenderServiceBlockingStub;
import gator.gateway.v1.RenderServiceOuterClass.*;
import gator.type.v1.Video.Quality;
import io.grpc.*;
import java.io.File;
import java.io.OutputStream;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

public class Render {
  interface Once { void run() throws Exception; }

  // Tries again while the server cannot be reached, for about a minute. What `once` remembers
  // between two tries (an event's number, an offset) makes the second go on where the first was.
  static void retried(Once once) throws Exception {
    for (long delay = 200; ; delay *= 2) {
      try {
        once.run();
        return;
      } catch (StatusRuntimeException error) {
        if (error.getStatus().getCode() != Status.Code.UNAVAILABLE || delay > 30_000) throw error;
        Thread.sleep(delay);
      }
    }
  }

  static class Token extends CallCredentials {
    final Metadata metadata = new Metadata();
    Token(String token) {
      metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    }
    @Override public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      applier.apply(metadata);
    }
    @Override public void thisUsesUnstableApi() {}
  }

  static ManagedChannel connect(String target) throws Exception {
    String ca = System.getenv("GATOR_CA_FILE"), token = System.getenv("GATOR_TOKEN");
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (ca != null) {
      credentials = TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build();
      if (token != null) credentials = CompositeChannelCredentials.create(credentials, new Token(token));
    }
    return Grpc.newChannelBuilder(target, credentials)
        .keepAliveTime(30, TimeUnit.SECONDS) // a dead link is noticed though nothing is sent on it
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .build();
  }

  static gator.gateway.v1.RenderServiceOuterClass.Render watch(RenderServiceBlockingStub stub, String id)
      throws Exception {
    var asked = WatchRenderRequest.newBuilder().setRenderId(id);
    var last = new gator.gateway.v1.RenderServiceOuterClass.Render[1];
    retried(() -> stub.watchRender(asked.build()).forEachRemaining(event -> {
      asked.setAfterSequence(event.getSequence());
      if (event.hasProgress()) System.err.printf("%.0f%%%n", 100 * event.getProgress().getFraction());
      if (event.hasRender()) System.err.println((last[0] = event.getRender()).getState());
    }));
    return last[0]; // as the stream ends, this is how the render ended
  }

  static String download(RenderServiceBlockingStub stub, String id, Path path) throws Exception {
    var asked = DownloadVideoRequest.newBuilder().setRenderId(id);
    var sha256 = MessageDigest.getInstance("SHA-256");
    var expected = new byte[1][];
    try (OutputStream file = Files.newOutputStream(path)) {
      retried(() -> {
        for (var parts = stub.downloadVideo(asked.build()); parts.hasNext(); ) {
          var part = parts.next();
          if (part.hasHeader()) asked.setContentTag(part.getHeader().getContentTag());
          if (part.hasTrailer()) expected[0] = part.getTrailer().getSha256().toByteArray();
          byte[] data = part.getChunk().getData().toByteArray();
          file.write(data);
          sha256.update(data);
          asked.setOffset(asked.getOffset() + data.length);
        }
      });
    }
    byte[] digest = sha256.digest();
    if (!Arrays.equals(digest, expected[0])) throw new IllegalStateException("the video is damaged");
    return String.format("%064x", new java.math.BigInteger(1, digest));
  }

  static void run(ManagedChannel channel, String[] args) throws Exception {
    Path out = Path.of(args[1]), partial = Path.of(args[1] + ".part");
    var request = RenderRequest.newBuilder()
        .setQuality(Quality.valueOf("QUALITY_" + args[2].toUpperCase(Locale.ROOT)))
        .setDurationPerFrame(Duration.newBuilder().setSeconds(1))
        .setRequestId(UUID.randomUUID().toString()); // safe to repeat
    for (int i = 3; i < args.length; i++) request.addScenes(Scene.newBuilder().setPrompt(args[i]));
    var stub = RenderServiceGrpc.newBlockingStub(channel);
    var created = new CreateRenderResponse[1];
    retried(() -> created[0] = stub.withDeadlineAfter(30, TimeUnit.SECONDS)
        .createRender(CreateRenderRequest.newBuilder().setRender(request).build()));
    var render = watch(stub, created[0].getRender().getRenderId());
    if (render.getState() != RenderState.RENDER_STATE_SUCCEEDED)
      throw new IllegalStateException(render.getState() + ": " + render.getError().getMessage());
    String sha256 = download(stub, render.getRenderId(), partial);
    Files.move(partial, out, StandardCopyOption.REPLACE_EXISTING); // the file gets its name once it is whole
    System.out.printf("%s: %d pictures, %d bytes, sha256 %s%n", out, render.getResult().getFrameCount(),
        render.getResult().getSizeBytes(), sha256);
  }

  public static void main(String[] args) throws Exception {
    if (args.length < 4) {
      System.err.println("usage: Render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...");
      System.exit(2);
    }
    ManagedChannel channel = connect(args[0]);
    try {
      run(channel, args);
    } catch (StatusRuntimeException | IllegalStateException error) {
      System.err.println("render failed: " + error.getMessage());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
