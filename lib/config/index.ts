export { keepNodeName, prepareDataDir } from './data-dir.js';
export { configTable } from './document.js';
export {
  type BrokerConfig,
  CONFIG_KEYS,
  type ConfigKey,
  type ConfigName,
  MAX_SHARDS,
  MIN_SECRET_BYTES,
} from './keys.js';
export {
  type ConfigSources,
  isNamed,
  loadConfig,
  makeConfig,
  OTHER_VARIABLES,
  secretFileOf,
} from './load.js';
export { isLoopback } from './loopback.js';
export { isInMesh, meshPortOf } from './mesh.js';
export { nearest } from './nearest.js';
export { ConfigError } from './problems.js';
export { formatDuration, formatSize, parseDuration, parseSize } from './units.js';
