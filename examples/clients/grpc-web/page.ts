// A page that creates a render, watches it to its end, and shows its video. It calls Envoy's
// edge, which translates gRPC-Web. `npm run build` generates gen/ from the protos.
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { RenderService, RenderState, type Render } from './gen/gator/gateway/v1/render_service_pb.js';
import { Quality } from './gen/gator/type/v1/video_pb.js';

const find = <T extends Element>(selector: string) => document.querySelector<T>(selector)!;
const form = find<HTMLFormElement>('form');
const server = find<HTMLInputElement>('[name=server]');
const token = find<HTMLInputElement>('[name=token]');
const bar = find<HTMLProgressElement>('progress');
const told = find<HTMLElement>('[role=status]');
const video = find<HTMLVideoElement>('video');
const save = find<HTMLAnchorElement>('a');
const cancel = find<HTMLButtonElement>('[name=cancel]');
server.value = new URLSearchParams(location.search).get('server') ?? server.value;

const showToken: Interceptor = (next) => (call) => {
  if (token.value) call.header.set('authorization', `Bearer ${token.value}`);
  return next(call);
};
const connect = () =>
  createClient(RenderService, createGrpcWebTransport({ baseUrl: server.value, interceptors: [showToken] }));

// Tries again while the server cannot be reached, for about a minute. What `once` remembers
// between two tries (an event's number, an offset) makes the second go on where the first was.
// A connection that breaks in the middle of a stream is UNKNOWN or INTERNAL in a browser.
async function retried<T>(once: () => Promise<T>, broken: Code[] = []): Promise<T> {
  for (let delay = 200; ; delay *= 2) {
    try {
      return await once();
    } catch (error) {
      if (![Code.Unavailable, ...broken].includes(ConnectError.from(error).code) || delay > 30_000) throw error;
      await new Promise((done) => setTimeout(done, delay));
    }
  }
}
const BROKEN = [Code.Unknown, Code.Internal];

async function watch(client: ReturnType<typeof connect>, renderId: string): Promise<Render> {
  let last: Render | undefined; // as the stream ends, this is how the render ended
  let afterSequence = 0n;
  await retried(async () => {
    for await (const { sequence, event } of client.watchRender({ renderId, afterSequence })) {
      afterSequence = sequence;
      if (event.case === 'progress') bar.value = event.value.fraction;
      if (event.case === 'render') told.textContent = RenderState[(last = event.value).state];
    }
  }, BROKEN);
  return last!;
}

async function download(client: ReturnType<typeof connect>, renderId: string): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0n;
  let contentTag = '';
  let expected = new Uint8Array();
  await retried(async () => {
    for await (const { part } of client.downloadVideo({ renderId, offset, contentTag })) {
      if (part.case === 'header') ({ contentTag } = part.value);
      if (part.case === 'trailer') expected = new Uint8Array(part.value.sha256);
      if (part.case === 'chunk') {
        parts.push(new Uint8Array(part.value.data));
        offset += BigInt(part.value.data.length);
      }
    }
  }, BROKEN);
  const blob = new Blob(parts, { type: 'video/mp4' });
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await blob.arrayBuffer()));
  if (digest.join() !== expected.join()) throw new Error('the video is damaged');
  return blob;
}

async function show(): Promise<void> {
  const fields = new FormData(form);
  const client = connect();
  const render = {
    scenes: String(fields.get('prompts')).split('\n').filter((line) => line.trim()).map((prompt) => ({ prompt })),
    quality: Quality[String(fields.get('quality')).toUpperCase() as keyof typeof Quality],
    durationPerFrame: { seconds: 1n },
    requestId: crypto.randomUUID(), // safe to repeat
  };
  const created = await retried(() => client.createRender({ render }, { timeoutMs: 30_000 }), BROKEN);
  const { renderId } = created.render!;
  cancel.onclick = () => void client.cancelRender({ renderId });
  cancel.disabled = false;
  const { state, error, result } = await watch(client, renderId);
  cancel.disabled = true;
  if (state !== RenderState.SUCCEEDED) throw new Error(`${RenderState[state]} ${error?.message ?? ''}`);
  const blob = await download(client, renderId);
  URL.revokeObjectURL(video.src);
  video.src = save.href = URL.createObjectURL(blob);
  save.download = 'film.mp4';
  video.hidden = save.hidden = false;
  told.textContent = `${result!.frameCount} pictures, ${blob.size} bytes`;
}

form.onsubmit = async (submitted) => {
  submitted.preventDefault();
  video.hidden = save.hidden = true;
  bar.value = 0;
  try {
    await show();
  } catch (error) {
    told.textContent = `render failed: ${ConnectError.from(error).message}`;
  }
};
