/** `connect()`, for any transport and any encoding of control frames. */
import type { ControlCodec } from '../wire/control.js';
import { Agent } from './agent.js';
import { type ConnectOptions, checkOptions, checkUrls } from './options.js';
import { Session } from './session.js';
import type { OpenTransport } from './transport.js';

/** The runtimes' entries bind the first two. Tests bring a transport of their own. */
export async function connectOver(
  open: OpenTransport,
  codec: ControlCodec,
  urls: string | readonly string[],
  options: ConnectOptions,
): Promise<Agent> {
  const settings = checkOptions(options);
  const session = new Session(settings, checkUrls(urls, settings.agentId), open, codec);
  await session.start();
  return new Agent(session);
}
