/** The settings as a document: what ops/README.md shows, so that it cannot say anything but the truth. */
import { CONFIG_KEYS } from './keys.js';

const cell = (text: string): string => text.replaceAll('|', '\\|');

/** A Markdown table of every setting. A line for each, no line break at the end. */
export function configTable(): string {
  const lines = [
    '| file | flag | variable | default | must be | what it is |',
    '| --- | --- | --- | --- | --- | --- |',
  ];
  for (const key of CONFIG_KEYS) {
    const cells = [
      `\`${key.name}\``,
      `\`${key.flag}\``,
      `\`${key.env}\``,
      key.fallbackText,
      key.kind.allowed,
      key.description,
    ];
    lines.push(`| ${cells.map(cell).join(' | ')} |`);
  }
  return lines.join('\n');
}
