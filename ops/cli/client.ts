/** One connection for the time of one command. */
import { randomBytes } from 'node:crypto';
import type { Agent, ConnectOptions, Message } from '../../lib/client/index.js';
import type { FlowbusError } from '../../lib/errors.js';
import { ERROR_HEADER } from '../../lib/wire/extensions.js';
import { type Exit, failureLine, failureOf } from './exit.js';
import { type ClientOptions, DEFAULT_URL } from './options.js';
import type { Output } from './output.js';
import { escapeControl } from './text.js';

/** A broker that does not answer the goodbye does not keep the command from ending (ms). */
const CLOSE_LIMIT = 2000;

export interface Work {
  /** Whether a lost connection may come back. A command that only asks once fails instead. */
  readonly reconnect: boolean;
  /** Messages in hand at a time; default: the SDK's. */
  readonly maxInFlight?: number;
  /** What the agent can do. Default: nothing. */
  readonly capabilities?: readonly string[];
  /** Of the agent; none unless said. */
  readonly mailbox?: ConnectOptions['mailbox'];
  /** The exit code after SIGINT or SIGTERM. */
  interrupted(): Exit;
  run(agent: Agent): Promise<Exit>;
}

function connectOptions(
  options: ClientOptions,
  { reconnect, maxInFlight, capabilities, mailbox }: Work,
): ConnectOptions {
  return {
    agentId: options.agentId ?? `cli-${randomBytes(4).toString('hex')}`,
    agentType: 'cli',
    token: options.token,
    ...(reconnect ? {} : { reconnect: false }),
    ...(maxInFlight !== undefined && { maxInFlight }),
    ...(capabilities !== undefined && { capabilities }),
    ...(mailbox !== undefined && { mailbox }),
  };
}

/** A notice as text, or as an object for scripts. */
export function note(output: Output, json: boolean, event: string, fields: object, text: string): void {
  output.notice(json ? JSON.stringify({ event, ...fields }) : `flowbus: ${escapeControl(text)}`);
}

function report(agent: Agent, output: Output, json: boolean): void {
  agent.on('gap', ({ missed, reason }) => {
    note(
      output,
      json,
      'gap',
      { missed, reason },
      `${missed ?? 'an unknown number of'} messages missed (${reason})`,
    );
  });
  agent.on('breaker', ({ mailbox, state, reason, coolDown }) => {
    const told = `the circuit breaker to ${mailbox} is ${state} (${reason})`;
    note(output, json, 'breaker', { mailbox, state, reason, coolDown }, told);
  });
  agent.on('reconnect', ({ url, resumed }) => {
    note(output, json, 'reconnect', { url, resumed }, `connected again to ${url}`);
  });
}

/** Rejects when the connection is gone for good. */
function lost(agent: Agent, output: Output, json: boolean, makeError: MakeError): Promise<never> {
  return new Promise((_, reject) => {
    agent.on('disconnect', ({ code, message, reconnecting }) => {
      if (reconnecting) {
        note(output, json, 'disconnect', { code, message }, `connection lost (${code}), trying again`);
      } else reject(makeError(code, message));
    });
  });
}

type MakeError = (code: FlowbusError['code'], message: string) => FlowbusError;

/** GNU `timeout` and some service managers send a signal twice, to the process and to its group (ms). */
const ECHO = 500;

function signalled(): { arrived: Promise<null>; forget(): void } {
  let forget = (): void => {};
  const arrived = new Promise<null>((resolve) => {
    let first = Number.NaN;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (Number.isNaN(first)) {
        first = performance.now();
        resolve(null);
      } else if (performance.now() - first > ECHO) {
        // Somebody does not want to wait: the system's own way.
        forget();
        process.kill(process.pid, signal);
      }
    };
    forget = () => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  return { arrived, forget: () => forget() };
}

async function closeSoon(agent: Agent): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_LIMIT);
  });
  await Promise.race([agent.close(), limit]);
  clearTimeout(timer);
}

/** Connects, works, closes. Rejects with what went wrong. */
export async function withAgent(options: ClientOptions, output: Output, work: Work): Promise<Exit> {
  // Loaded here, so that --help and start do without it.
  const { connect, FlowbusError } = await import('../../lib/client/index.js');
  const json = options.json === true;
  const urls = options.url === undefined || options.url.length === 0 ? [DEFAULT_URL] : options.url;
  const agent = await connect(urls, connectOptions(options, work));
  const signal = signalled();
  try {
    report(agent, output, json);
    const gone = lost(agent, output, json, (code, message) => new FlowbusError(code, message));
    const result = await Promise.race([work.run(agent), gone, signal.arrived]);
    return result ?? work.interrupted();
  } finally {
    output.flush();
    await closeSoon(agent);
    signal.forget();
  }
}

/** For errors that do not end the command. */
export function noteError(output: Output, json: boolean, error: unknown): void {
  output.notice(failureLine(failureOf(error), json));
}

/** Says once that a message came to the agent itself which the command has no use for. `hint`: what would have one. */
export function noteDirect(
  output: Output,
  json: boolean,
  agent: Agent,
  hint: string,
): (message: Message) => void {
  let noted = false;
  return ({ from }) => {
    if (noted) return;
    noted = true;
    const { agentId } = agent;
    note(output, json, 'direct', { from, agentId }, `${from} sent a message to ${agentId} itself; ${hint}`);
  };
}

/** Answers a request with an error, without making one here. */
export function refuse(message: Message, reason: string): void {
  message.reply('', { headers: { [ERROR_HEADER]: reason } });
}
