/** SVG as text: as much of it as the charts need. */

type Value = string | number;

/** What XML 1.0 cannot hold, however it is written. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu;

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

export function escapeText(text: string): string {
  return text.replace(FORBIDDEN, '\ufffd').replace(/[&<>"]/g, (character) => ENTITIES[character]);
}

/** Hundredths of a pixel are enough. */
function attribute(name: string, value: Value): string {
  if (typeof value === 'string') return ` ${name}="${escapeText(value)}"`;
  if (!Number.isFinite(value)) throw new Error(`A chart was to be drawn with ${name} = ${value}.`);
  return ` ${name}="${Math.round(value * 100) / 100}"`;
}

/** `children`: elements, not text. */
export function element(name: string, attributes: Record<string, Value>, ...children: string[]): string {
  const head = Object.entries(attributes).reduce((text, [key, value]) => text + attribute(key, value), name);
  return children.length === 0 ? `<${head}/>` : `<${head}>${children.join('')}</${name}>`;
}

/** `style`: names of classes. */
export function text(x: number, y: number, style: string, content: string): string {
  return element('text', { x, y, class: style }, escapeText(content));
}

export function line(x1: number, y1: number, x2: number, y2: number, style: string): string {
  return element('line', { x1, y1, x2, y2, class: style });
}

export function rect(x: number, y: number, width: number, height: number, style: string): string {
  return element('rect', { x, y, width, height, rx: 3, class: style });
}

export function path(points: readonly (readonly [number, number])[], style: string, closed = false): string {
  const steps = points.map(
    ([x, y], index) => `${index === 0 ? 'M' : 'L'}${Math.round(x * 100) / 100} ${Math.round(y * 100) / 100}`,
  );
  return element('path', { d: `${steps.join('')}${closed ? 'Z' : ''}`, class: style });
}

export function moved(x: number, y: number, ...children: string[]): string {
  return element('g', { transform: `translate(${Math.round(x)} ${Math.round(y)})` }, ...children);
}
