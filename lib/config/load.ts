/**
 * From flags, environment and file to one `BrokerConfig`: flag before variable before file before default. Everything is
 * read to its end, whatever is wrong with it, so that all problems are known at once.
 */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { FlowbusError } from '../errors.js';
import { type BrokerConfig, CONFIG_KEYS, type ConfigKey, type ConfigName } from './keys.js';
import { byteLength } from './kinds.js';
import { isLoopback } from './loopback.js';
import { nearest } from './nearest.js';
import { Problems } from './problems.js';

export interface ConfigSources {
  /** Values of command line flags, by setting name; undefined = not given. */
  readonly flags?: Readonly<Partial<Record<ConfigName, unknown>>>;
  /** Environment variables; those that do not begin with FLOWBUS_ are ignored, and those that are empty. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Path of a YAML file (the flag `--config`); without it the variable FLOWBUS_CONFIG. */
  readonly file?: string;
}

/** Variables of the same family that other parts of flowbus read. */
export const OTHER_VARIABLES = [
  'FLOWBUS_CONFIG',
  'FLOWBUS_URL',
  'FLOWBUS_TOKEN',
  'FLOWBUS_AGENT_ID',
] as const;

/** A configuration or secret file beyond this (bytes) is somebody else's file. */
const MAX_FILE = 1024 * 1024;

/** What Kubernetes and Docker set for a service that is called flowbus, or flowbus-something: not ours. */
const SERVICE_LINK =
  /^FLOWBUS_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)$/;
const SERVICE_URL = /^(?:tcp|udp|sctp):\/\//;

function isServiceLink(name: string, value: string): boolean {
  return SERVICE_LINK.test(name) || (/^FLOWBUS_(?:\w+_)?PORT$/.test(name) && SERVICE_URL.test(value));
}

/** Where a value came from, so that an error can name the place. */
interface Found {
  readonly key: ConfigKey;
  readonly value: unknown;
  /** As the user spelled it: `--shards`, `FLOWBUS_SHARDS`, `flowbus.yaml: shards`. */
  readonly spelled: string;
}

function bad(message: string): FlowbusError {
  // One line, whatever file name or value is quoted in it.
  return new FlowbusError('BAD_CONFIG', message.replace(/[\p{Cc}\u2028\u2029]+/gu, ' '));
}

/** A value as an error shows it: quoted, on one line, bounded. */
function show(value: unknown): string {
  let shown: string;
  if (value === null) shown = 'nothing';
  else if (value instanceof Map) shown = 'a mapping';
  else if (Array.isArray(value)) shown = 'a list';
  else shown = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
}

function parseValue({ key, value, spelled }: Found): unknown {
  const result = key.kind.schema.safeParse(value);
  if (result.success) return result.data;
  // YAML reads `node: 12` as a number; text is what this setting wants, and quotes are what makes it one.
  const quoted = typeof value === 'number' && key.kind.schema.safeParse(String(value)).success;
  const shown = !key.secret
    ? show(value)
    : typeof value === 'string'
      ? `(${byteLength(value)} bytes)`
      : '(hidden)';
  throw bad(`${spelled} ${shown}: must be ${key.kind.allowed}${quoted ? ', in quotes' : ''}`);
}

function unknown(spelled: string, guess: string | undefined, otherwise: string): FlowbusError {
  return bad(`${spelled}: no such setting; ${guess === undefined ? otherwise : `did you mean ${guess}?`}`);
}

function reasonOf(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return 'there is no such file';
    case 'EACCES':
      return 'this user may not read it';
    case 'EISDIR':
      return 'it is a directory';
    default:
      return error instanceof Error ? error.message : String(error);
  }
}

function readText(path: string, spelled: string): string {
  let text: string;
  try {
    const stat = statSync(path);
    if (stat.isFile() && stat.size > MAX_FILE) throw new Error(`it is larger than ${MAX_FILE} bytes`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw bad(`${spelled} ${show(path)}: must be a readable file, but ${reasonOf(error)}`);
  }
  return text;
}

const KEYS_BY_NAME: ReadonlyMap<string, ConfigKey> = new Map(CONFIG_KEYS.map((key) => [key.name, key]));
const KEYS_BY_ENV: ReadonlyMap<string, ConfigKey> = new Map(CONFIG_KEYS.map((key) => [key.env, key]));

function fromFlags(
  flags: NonNullable<ConfigSources['flags']>,
  prefix: 'flag' | 'name',
  problems: Problems,
): Found[] {
  const found: Found[] = [];
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const key = KEYS_BY_NAME.get(name);
    if (key === undefined)
      problems.add(unknown(name, nearest(name, KEYS_BY_NAME.keys()), 'see flowbus start --help'));
    else found.push({ key, value, spelled: prefix === 'flag' ? key.flag : name });
  }
  return found;
}

function fromEnvironment(env: NonNullable<ConfigSources['env']>, problems: Problems): Found[] {
  const found: Found[] = [];
  for (const [name, value] of Object.entries(env)) {
    // Empty is as good as unset: what compose files and shells make of a variable that nobody has given.
    if (!name.startsWith('FLOWBUS_') || !value || isServiceLink(name, value)) continue;
    if ((OTHER_VARIABLES as readonly string[]).includes(name)) continue;
    const key = KEYS_BY_ENV.get(name);
    if (key === undefined) {
      const guess = nearest(
        name.slice('FLOWBUS_'.length),
        [...KEYS_BY_ENV.keys(), ...OTHER_VARIABLES].map(shortName),
      );
      problems.add(unknown(name, guess && `FLOWBUS_${guess}`, 'unset it, or see flowbus start --help'));
    } else found.push({ key, value, spelled: name });
  }
  return found;
}

function shortName(variable: string): string {
  return variable.slice('FLOWBUS_'.length);
}

/** Throws when it cannot be read as a whole. */
function fromFile(path: string, spelled: string, problems: Problems): Found[] {
  const document = parseDocument(readText(path, spelled), { prettyErrors: true });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const line = problem.linePos?.[0].line;
    // The parser's message goes on with an excerpt, which may hold a secret.
    const [what] = problem.message.split(/ at line |\n/);
    throw bad(`${path}${line === undefined ? '' : ` line ${line}`}: must be YAML: ${what}`);
  }
  let content: unknown;
  try {
    content = document.toJS({ mapAsMap: true });
  } catch (error) {
    throw bad(`${path}: must be YAML: ${reasonOf(error)}`);
  }
  if (content === null || content === undefined) return [];
  if (!(content instanceof Map))
    throw bad(`${path}: must be a mapping from settings to values, not ${show(content)}`);
  const found: Found[] = [];
  for (const [name, value] of content as Map<unknown, unknown>) {
    const key = KEYS_BY_NAME.get(String(name));
    if (key === undefined) {
      const guess = nearest(String(name).replace(/[-_]/g, ''), KEYS_BY_NAME.keys());
      problems.add(unknown(`${path}: ${show(name)}`, guess, 'see ops/README.md for all settings'));
    } else found.push({ key, value, spelled: `${path}: ${key.name}` });
  }
  return found;
}

/** Puts the content of a file in the place of the secret itself, so that the rest of the broker knows one of them. */
function readSecret(
  name: 'authSecret' | 'meshSecret',
  values: Map<ConfigName, unknown>,
  places: Map<ConfigName, string>,
): void {
  const file = `${name}File` as const;
  const path = values.get(file) as string | undefined;
  if (path === undefined) return;
  const spelled = places.get(file) ?? file;
  const other = places.get(name);
  if (other !== undefined) throw bad(`${spelled} ${show(path)}: must not be given together with ${other}`);
  const key = KEYS_BY_NAME.get(name) as ConfigKey;
  const value = readText(path, spelled).replace(/\r?\n$/, '');
  values.set(name, parseValue({ key, value, spelled: `${spelled} ${show(path)}` }));
  values.delete(file);
}

/** What bears on whether the broker may listen where it is told to. One of them wrong, and nobody can say. */
const SAFETY: readonly ConfigName[] = ['host', 'authSecret', 'authSecretFile', 'allowUnauthenticated'];
const MESH_SAFETY: readonly ConfigName[] = ['meshHost', 'meshSecret', 'meshSecretFile'];

function refuseUnsafe(config: BrokerConfig, spelledHost: string): void {
  if (config.authSecret !== undefined || config.allowUnauthenticated || isLoopback(config.host)) return;
  throw new FlowbusError(
    'UNSAFE_LISTEN',
    `${spelledHost} ${show(config.host)}: agents beyond this machine could connect without a token; ` +
      'set --auth-secret-file (and make tokens with `flowbus token`), or accept it with --allow-unauthenticated',
  );
}

function refuseOpenMesh(config: BrokerConfig, spelledHost: string): void {
  if (config.meshSecret !== undefined || isLoopback(config.meshHost)) return;
  throw bad(
    `${spelledHost} ${show(config.meshHost)}: whoever reaches its mesh port could join the cluster; ` +
      'set --mesh-secret-file, the same for all nodes',
  );
}

function build({ found, complete }: Gathered, problems: Problems): BrokerConfig {
  const values = new Map<ConfigName, unknown>();
  const places = new Map<ConfigName, string>();
  const wrong = new Set<ConfigName>();
  for (const one of found) {
    const { name } = one.key;
    // A value that loses to another source is checked all the same: it would be the next one's surprise.
    const value = problems.attempt(() => parseValue(one));
    if (value === undefined) wrong.add(name);
    if (places.has(name)) continue;
    if (value !== undefined) values.set(name, value);
    places.set(name, one.spelled);
  }
  const before = problems.count;
  problems.attempt(() => readSecret('authSecret', values, places));
  problems.attempt(() => readSecret('meshSecret', values, places));
  const config = {} as Record<ConfigName, unknown>;
  for (const key of CONFIG_KEYS)
    config[key.name] = values.has(key.name) ? values.get(key.name) : key.fallback();
  const known = (names: readonly ConfigName[]): boolean => !names.some((name) => wrong.has(name));
  if (complete && problems.count === before) {
    const whole = config as BrokerConfig;
    if (known(SAFETY)) problems.attempt(() => refuseUnsafe(whole, places.get('host') ?? '--host'));
    if (known(MESH_SAFETY))
      problems.attempt(() => refuseOpenMesh(whole, places.get('meshHost') ?? '--mesh-host'));
  }
  problems.throwIfAny();
  return Object.freeze(config as BrokerConfig);
}

interface Gathered {
  /** What goes before the others comes first. */
  readonly found: readonly Found[];
  /** False: a source could not be read, so that there may be more settings. */
  readonly complete: boolean;
}

function gather({ flags = {}, env = {}, file }: ConfigSources, problems: Problems): Gathered {
  const found = [...fromFlags(flags, 'flag', problems), ...fromEnvironment(env, problems)];
  const path = file ?? (env.FLOWBUS_CONFIG || undefined);
  if (path === undefined) return { found, complete: true };
  const spelled = file === undefined ? 'FLOWBUS_CONFIG' : '--config';
  const inFile = problems.attempt(() => fromFile(path, spelled, problems));
  return { found: [...found, ...(inFile ?? [])], complete: inFile !== undefined };
}

/**
 * The configuration from all sources. Every problem is one line that names the setting as the user spelled it, the
 * value, and what is allowed.
 * @throws ConfigError with all of them: BAD_CONFIG, or UNSAFE_LISTEN when nothing else is wrong but that `host` is not
 * loopback, there is no `authSecret`, and `allowUnauthenticated` is false.
 */
export function loadConfig(sources: ConfigSources): BrokerConfig {
  const problems = new Problems();
  return build(gather(sources, problems), problems);
}

/** What `sources`, which `loadConfig` accepts, say of a setting, as it is spelled there; undefined: nothing. */
function givenIn(sources: ConfigSources, name: ConfigName): unknown {
  const { found } = gather(sources, new Problems());
  return found.find(({ key }) => key.name === name)?.value;
}

/**
 * The file that `authSecret` comes from, with its whole path, for whoever is to make tokens elsewhere; undefined when
 * it comes from no file. Of sources that `loadConfig` accepts.
 */
export function secretFileOf(sources: ConfigSources): string | undefined {
  const file = givenIn(sources, 'authSecretFile');
  return file === undefined ? undefined : resolve(String(file));
}

/** Whether the node has its name from `sources`, which `loadConfig` accepts, and not by chance. */
export function isNamed(sources: ConfigSources): boolean {
  return givenIn(sources, 'node') !== undefined;
}

/**
 * The defaults with `settings` in their place, validated as any other source, for programs that start a node
 * themselves. Reads no environment and no configuration file.
 * @throws ConfigError as `loadConfig`
 */
export function makeConfig(settings: Partial<BrokerConfig> = {}): BrokerConfig {
  const problems = new Problems();
  return build({ found: fromFlags(settings, 'name', problems), complete: true }, problems);
}
