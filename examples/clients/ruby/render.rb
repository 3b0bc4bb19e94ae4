# Creates a render, watches it to its end, and downloads its video.
#
#   gem install grpc grpc-tools      # or Debian's ruby-grpc and ruby-grpc-tools
#   mkdir -p gen && grpc_tools_ruby_protoc -I ../../../protos --ruby_out=gen --grpc_out=gen \
#     $(cd ../../../protos && find gator/gateway gator/type google -name '*.proto')
#   ruby -I gen render.rb HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
#
# GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
require 'digest'
require 'securerandom'
require 'gator/gateway/v1/render_service_services_pb'

V1 = Gator::Gateway::V1

def credentials
  ca, token = ENV.values_at('GATOR_CA_FILE', 'GATOR_TOKEN')
  return :this_channel_is_insecure unless ca

  tls = GRPC::Core::ChannelCredentials.new(File.read(ca))
  return tls unless token

  tls.compose(GRPC::Core::CallCredentials.new(->(_) { { 'authorization' => "Bearer #{token}" } }))
end

# Tries again while the server cannot be reached, for about a minute. What the block remembers
# between two tries (an event's number, an offset) makes the second go on where the first was.
def retried
  delay = 0.2
  begin
    yield
  rescue GRPC::Unavailable
    raise if delay > 30

    sleep delay
    delay *= 2
    retry
  end
end

def watch(stub, render_id)
  asked = V1::WatchRenderRequest.new(render_id: render_id)
  last = nil # as the stream ends, this is how the render ended
  retried do
    stub.watch_render(asked).each do |event|
      asked.after_sequence = event.sequence
      warn "#{(100 * event.progress.fraction).round}%" if event.progress
      warn (last = event.render).state if event.render
    end
  end
  last
end

def download(stub, render_id, path)
  asked = V1::DownloadVideoRequest.new(render_id: render_id)
  sha256 = Digest::SHA256.new
  File.open(path, 'wb') do |file|
    retried do
      stub.download_video(asked).each do |part|
        asked.content_tag = part.header.content_tag if part.header
        if part.chunk
          file.write(part.chunk.data)
          sha256 << part.chunk.data
          asked.offset += part.chunk.data.bytesize
        end
        abort 'the video is damaged' if part.trailer && part.trailer.sha256 != sha256.digest
      end
    end
  end
  sha256.hexdigest
end

abort 'usage: render.rb HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...' if ARGV.size < 4
target, out, quality, *prompts = ARGV
stub = V1::RenderService::Stub.new(
  target, credentials,
  # A dead link is noticed though nothing is sent on it.
  channel_args: { 'grpc.keepalive_time_ms' => 30_000, 'grpc.keepalive_timeout_ms' => 10_000,
                  'grpc.http2.max_pings_without_data' => 0 }
)
request = V1::CreateRenderRequest.new(
  render: V1::RenderRequest.new(
    scenes: prompts.map { |prompt| V1::Scene.new(prompt: prompt) },
    quality: "QUALITY_#{quality.upcase}".to_sym,
    duration_per_frame: Google::Protobuf::Duration.new(seconds: 1),
    request_id: SecureRandom.uuid # safe to repeat
  )
)
begin
  created = retried { stub.create_render(request, deadline: Time.now + 30) }
  render = watch(stub, created.render.render_id)
  abort "render failed: #{render.state}: #{render.error&.message}" if render.state != :RENDER_STATE_SUCCEEDED
  sha256 = download(stub, render.render_id, "#{out}.part")
rescue GRPC::BadStatus => e
  abort "render failed: #{e.class.name.split('::').last}: #{e.details}"
end
File.rename("#{out}.part", out) # the file gets its name once it is whole
puts "#{out}: #{render.result.frame_count} pictures, #{render.result.size_bytes} bytes, sha256 #{sha256}"
