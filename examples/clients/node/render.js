// Creates a render, watches it to its end, and downloads its video.
//
//   npm ci
//   node render.js HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
//
// GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
// The API is read from the protos in this repository; nothing is generated.
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const [target, out, quality, ...prompts] = process.argv.slice(2);
if (prompts.length === 0) {
  console.error('usage: node render.js HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...');
  process.exit(2);
}
const definition = protoLoader.loadSync('gator/gateway/v1/render_service.proto', {
  includeDirs: [fileURLToPath(new URL('../../../protos', import.meta.url))],
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
  oneofs: true,
});
const { RenderService } = grpc.loadPackageDefinition(definition).gator.gateway.v1;
const client = new RenderService(target, credentials(process.env), {
  'grpc.keepalive_time_ms': 30_000, // a dead link is noticed though nothing is sent on it
  'grpc.keepalive_timeout_ms': 10_000,
});

function credentials({ GATOR_CA_FILE: ca, GATOR_TOKEN: token }) {
  if (!ca) return grpc.credentials.createInsecure();
  const tls = grpc.credentials.createSsl(readFileSync(ca));
  const metadata = new grpc.Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return grpc.credentials.combineChannelCredentials(
    tls, grpc.credentials.createFromMetadataGenerator((_, done) => done(null, metadata)));
}

// Tries again while the server cannot be reached, for about a minute. What `once` remembers
// between two tries (an event's number, an offset) makes the second go on where the first was.
async function retried(once) {
  for (let delay = 200; ; delay *= 2) {
    try {
      return await once();
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE || delay > 30_000) throw error;
      await sleep(delay);
    }
  }
}

function create(render) {
  const request = { render: { ...render, request_id: randomUUID() } }; // safe to repeat
  return retried(() => new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    client.CreateRender(request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer.render)));
  }));
}

async function watch(render_id) {
  let after_sequence = 0;
  let render; // as the stream ends, this is how the render ended
  await retried(async () => {
    for await (const event of client.WatchRender({ render_id, after_sequence })) {
      after_sequence = event.sequence;
      if (event.progress) console.error(`${Math.round(100 * event.progress.fraction)}%`);
      if (event.render) console.error((render = event.render).state);
    }
  });
  return render;
}

async function download(render_id, path) {
  const file = await open(path, 'w');
  const sha256 = createHash('sha256');
  let offset = 0;
  let content_tag = '';
  try {
    return await retried(async () => {
      for await (const part of client.DownloadVideo({ render_id, offset, content_tag })) {
        if (part.header) ({ content_tag } = part.header);
        if (part.chunk) {
          sha256.update(part.chunk.data);
          await file.write(part.chunk.data);
          offset += part.chunk.data.length;
        }
        if (part.trailer && !sha256.copy().digest().equals(part.trailer.sha256)) throw new Error('the video is damaged');
      }
      return sha256.digest('hex');
    });
  } finally {
    await file.close();
  }
}

const partial = `${out}.part`; // the file gets its name once it is whole
try {
  const render = await create({
    scenes: prompts.map((prompt) => ({ prompt })),
    quality: `QUALITY_${quality.toUpperCase()}`,
    duration_per_frame: { seconds: 1 },
  });
  const { state, error, result } = await watch(render.render_id);
  if (state !== 'RENDER_STATE_SUCCEEDED') throw new Error(`${state}: ${error?.message ?? ''}`);
  const sha256 = await download(render.render_id, partial);
  await rename(partial, out);
  console.log(`${out}: ${result.frame_count} pictures, ${result.size_bytes} bytes, sha256 ${sha256}`);
} catch (error) {
  await rm(partial, { force: true });
  const code = error.code === undefined ? '' : `${grpc.status[error.code]}: `;
  console.error(`render failed: ${code}${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
