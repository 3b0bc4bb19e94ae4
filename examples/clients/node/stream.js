// Renders a video and saves it while it is being made: one call, for whom somebody waits.
//
//   npm ci
//   node stream.js HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...
//
// GATOR_CA_FILE: certificates to trust; turns TLS on. GATOR_TOKEN: shown over TLS only.
// A render whose caller has been away for 30 s is cancelled: render.js makes one that goes on alone.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../../protos', import.meta.url));
const definition = protoLoader.loadSync('gator/gateway/v1/render_service.proto', {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
  oneofs: true,
});
const { RenderService } = grpc.loadPackageDefinition(definition).gator.gateway.v1;

const [target, out, quality, ...prompts] = process.argv.slice(2);
if (prompts.length === 0) {
  console.error('usage: node stream.js HOST:PORT OUT.mp4 draft|standard|high|premium PROMPT...');
  process.exit(2);
}

const client = new RenderService(target, credentials(process.env));

function credentials({ GATOR_CA_FILE: ca, GATOR_TOKEN: token }) {
  if (!ca) return grpc.credentials.createInsecure();
  const metadata = new grpc.Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return grpc.credentials.combineChannelCredentials(
    grpc.credentials.createSsl(readFileSync(ca)),
    grpc.credentials.createFromMetadataGenerator((_, done) => done(null, metadata)));
}

const call = client.Render({
  scenes: prompts.map((prompt) => ({ prompt })),
  quality: `QUALITY_${quality.toUpperCase()}`,
  duration_per_frame: { seconds: 1 },
});

// The file gets its name only once it is whole.
const partial = `${out}.part`;
const file = createWriteStream(partial);
const sha256 = createHash('sha256');
let result;
try {
  for await (const response of call) {
    switch (response.event) {
      case 'accepted':
        for (const { field, reason } of response.accepted.warnings) console.error(`warning: ${field}: ${reason}`);
        break;
      case 'scene':
        console.error(`scene ${response.scene.index + 1}: ${response.scene.state}`);
        break;
      case 'video':
        sha256.update(response.video.data);
        if (!file.write(response.video.data)) await once(file, 'drain');
        break;
      case 'result':
        ({ result } = response);
        break;
    }
  }
  file.end();
  await once(file, 'finish');
  if (!result || !sha256.digest().equals(result.sha256)) throw new Error('the video did not arrive whole');
  await rename(partial, out);
  const hex = result.sha256.toString('hex');
  console.log(`${out}: ${result.frame_count} pictures, ${result.size_bytes} bytes, sha256 ${hex}`);
} catch (error) {
  file.destroy();
  await rm(partial, { force: true });
  const name = error.code === undefined ? '' : `${grpc.status[error.code]}: `;
  console.error(`render failed: ${name}${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
