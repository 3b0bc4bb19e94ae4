// Creates a render, watches it to its end, and downloads its video.
//
//   cmake -B build && cmake --build build
//   build/render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
//
// GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
#include <grpcpp/grpcpp.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

#include "gator/gateway/v1/render_service.grpc.pb.h"

using namespace gator::gateway::v1;
using gator::type::v1::Quality;
using gator::type::v1::Quality_Parse;

[[noreturn]] void fail(const std::string& why) {
  std::cerr << "render failed: " << why << '\n';
  std::exit(1);
}

std::string file_content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::Channel> connect(const std::string& target) {
  grpc::ChannelArguments options;  // a dead link is noticed though nothing is sent on it
  options.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  options.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  options.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  auto credentials = grpc::InsecureChannelCredentials();
  if (const char* ca = std::getenv("GATOR_CA_FILE")) {
    credentials = grpc::SslCredentials({file_content(ca), "", ""});
    if (const char* token = std::getenv("GATOR_TOKEN"))
      credentials = grpc::CompositeChannelCredentials(credentials, grpc::AccessTokenCredentials(token));
  }
  return grpc::CreateCustomChannel(target, credentials, options);
}

// Tries again while the server cannot be reached, for about a minute. What `once` remembers
// between two tries (an event's number, an offset) makes the second go on where the first was.
template <typename Once>
void retried(Once once) {
  static const char* const names[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
      "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  for (auto delay = std::chrono::milliseconds(200);; delay *= 2) {
    grpc::ClientContext context;
    grpc::Status status = once(context);
    if (status.ok()) return;
    if (status.error_code() != grpc::UNAVAILABLE || delay > std::chrono::seconds(30))
      fail(std::string(names[status.error_code()]) + ": " + status.error_message());
    std::this_thread::sleep_for(delay);
  }
}

Render watch(RenderService::Stub& stub, const std::string& render_id) {
  WatchRenderRequest asked;
  asked.set_render_id(render_id);
  Render last;  // as the stream ends, this is how the render ended
  retried([&](grpc::ClientContext& context) {
    auto stream = stub.WatchRender(&context, asked);
    for (WatchRenderResponse event; stream->Read(&event);) {
      asked.set_after_sequence(event.sequence());
      if (event.has_progress()) std::cerr << static_cast<int>(100 * event.progress().fraction()) << "%\n";
      if (event.has_render()) std::cerr << RenderState_Name((last = event.render()).state()) << '\n';
    }
    return stream->Finish();
  });
  return last;
}

std::string download(RenderService::Stub& stub, const std::string& render_id, const std::string& path) {
  DownloadVideoRequest asked;
  asked.set_render_id(render_id);
  std::ofstream file(path, std::ios::binary);
  std::string expected, digest(32, '\0');
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sha256(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(sha256.get(), EVP_sha256(), nullptr);
  retried([&](grpc::ClientContext& context) {
    auto stream = stub.DownloadVideo(&context, asked);
    for (DownloadVideoResponse part; stream->Read(&part);) {
      if (part.has_header()) asked.set_content_tag(part.header().content_tag());
      if (part.has_trailer()) expected = part.trailer().sha256();
      const std::string& data = part.chunk().data();
      EVP_DigestUpdate(sha256.get(), data.data(), data.size());
      file.write(data.data(), static_cast<std::streamsize>(data.size()));
      asked.set_offset(asked.offset() + data.size());
    }
    return stream->Finish();
  });
  EVP_DigestFinal_ex(sha256.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  if (digest != expected || !file.flush()) fail("the video is damaged");
  std::ostringstream hex;
  for (unsigned char byte : digest) hex << std::hex << (byte >> 4) << (byte & 15);
  return hex.str();
}

int main(int argc, char** argv) {
  if (argc < 5) fail("usage: render HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...");
  const std::string out = argv[2], partial = out + ".part";
  std::string quality = argv[3];
  std::transform(quality.begin(), quality.end(), quality.begin(), ::toupper);
  CreateRenderRequest request;
  auto& render = *request.mutable_render();
  Quality parsed;
  if (!Quality_Parse("QUALITY_" + quality, &parsed)) fail("no such quality");
  render.set_quality(parsed);
  render.mutable_duration_per_frame()->set_seconds(1);
  std::random_device random;
  for (int i = 0; i < 4; ++i) *render.mutable_request_id() += std::to_string(random());  // safe to repeat
  for (int i = 4; i < argc; ++i) render.add_scenes()->set_prompt(argv[i]);

  auto stub = RenderService::NewStub(connect(argv[1]));
  CreateRenderResponse created;
  retried([&](grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return stub->CreateRender(&context, request, &created);
  });
  const Render ended = watch(*stub, created.render().render_id());
  if (ended.state() != RENDER_STATE_SUCCEEDED)
    fail(RenderState_Name(ended.state()) + ": " + ended.error().message());
  const std::string sha256 = download(*stub, ended.render_id(), partial);
  std::rename(partial.c_str(), out.c_str());  // the file gets its name once it is whole
  std::cout << out << ": " << ended.result().frame_count() << " pictures, " << ended.result().size_bytes()
            << " bytes, sha256 " << sha256 << '\n';
}
