/** The metrics as a document, out of the page itself. */
import { SharedTelemetry, TELEMETRY_BYTES } from '../../lib/telemetry/block.js';
import { MetricsPage } from '../../lib/telemetry/prometheus.js';

const HELP = /^# HELP (?<name>\S+) (?<help>.*)\n# TYPE \S+ (?<kind>\S+)$/gm;

/** A Markdown table of every metric. A line for each, no line break at the end. */
export async function metricsTable(): Promise<string> {
  const { body } = await new MetricsPage(
    new SharedTelemetry(new ArrayBuffer(TELEMETRY_BYTES), 0, ['0']),
  ).render();
  const lines = ['| metric | kind | what it is |', '| --- | --- | --- |'];
  for (const { groups } of body.matchAll(HELP)) {
    lines.push(`| \`${groups?.name}\` | ${groups?.kind} | ${groups?.help.replaceAll('|', '\\|')} |`);
  }
  return lines.join('\n');
}
